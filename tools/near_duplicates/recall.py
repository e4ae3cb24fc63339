"""Compares what `prepare` moved out of the holdout with the exact similarities of all pairs.

    python recall.py OFF ON TRAIN.jsonl HOLDOUT.jsonl --threshold 0.5

OFF and ON are corpora of `prepare TRAIN.jsonl --holdout-input HOLDOUT.jsonl`, OFF with `--near-duplicates off` and ON
with the threshold. Recall is the share of held-out documents of a similarity that moved, similarity being the highest
with a training document. Precision is the share of moved documents that have a similarity of the threshold or more
with another document of ON's training part (a document may have moved because of one that moved).
"""

import argparse
import json
from pathlib import Path

import numpy as np
from exact import hashes_of, shingles, text_hash


class Index:
    """All shingles of some texts, to find the highest similarity of another one."""

    def __init__(self, sets: list[np.ndarray]) -> None:
        """Sorts the shingles with the numbers of their texts."""
        self.sizes = np.array([len(one) for one in sets], dtype=np.int64)
        hashes = np.concatenate(sets)
        owners = np.repeat(np.arange(len(sets), dtype=np.int32), self.sizes)
        order = np.argsort(hashes, kind="stable")
        self.hashes, self.owners = hashes[order], owners[order]

    def similarities(self, own: np.ndarray) -> list[float]:
        """Returns the similarities to all texts with a common shingle, the highest first."""
        first = np.searchsorted(self.hashes, own, side="left")
        end = np.searchsorted(self.hashes, own, side="right")
        found = [self.owners[a:b] for a, b in zip(first, end, strict=True) if b > a]
        if not found:
            return []
        documents, shared = np.unique(np.concatenate(found), return_counts=True)
        similarity = shared / (len(own) + self.sizes[documents] - shared)
        return sorted(similarity.tolist(), reverse=True)


def main() -> None:
    """Prints recall by similarity, and precision."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("off", type=Path)
    parser.add_argument("on", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("holdout", type=Path)
    parser.add_argument("--threshold", type=float, required=True)
    arguments = parser.parse_args()
    texts = {}
    for name in ("train", "holdout"):
        with getattr(arguments, name).open(encoding="utf-8") as lines:
            texts[name] = [json.loads(line)["text"] for line in lines]
    moved_hashes = hashes_of(arguments.off, "holdout") & hashes_of(arguments.on, "train")
    train = [shingles(text) for text in texts["train"]]
    held_out = [(shingles(text), text_hash(text) in moved_hashes) for text in texts["holdout"]]
    index = Index(train)
    highest = [((index.similarities(own) or [0.0])[0], moved) for own, moved in held_out]
    print(f"threshold {arguments.threshold}: {len(held_out)} held-out documents, {sum(m for _, m in held_out)} moved")
    for low in np.arange(0.0, 1.0, 0.05):
        of = [moved for similarity, moved in highest if low <= similarity < low + 0.05 or low >= 0.95 <= similarity]
        if of:
            print(f"  J from {low:.2f}: {len(of):5} documents, moved {100 * sum(of) / len(of):6.2f} %")
    for least in (arguments.threshold, arguments.threshold + 0.05, arguments.threshold + 0.1, 0.75):
        of = [moved for similarity, moved in highest if similarity >= least]
        print(f"  recall at J >= {least:.2f}: {sum(of)} of {len(of)}, {100 * sum(of) / max(1, len(of)):.2f} %")
    both = Index(train + [own for own, moved in held_out if moved])
    # The highest similarity is that of the document with itself.
    right = [(both.similarities(own) + [0.0, 0.0])[1] >= arguments.threshold for own, moved in held_out if moved]
    print(f"  precision: {sum(right)} of {len(right)}, {100 * sum(right) / max(1, len(right)):.2f} %")


if __name__ == "__main__":
    main()
