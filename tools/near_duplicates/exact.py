"""Measures the near-duplicates that a corpus' holdout has in its training part, exactly and without mixdown.

    python exact.py CORPUS INPUT.jsonl ... [--field text] [--at 0.5 0.6 0.75] [--show 3]

Reads the inputs that the corpus was prepared from, finds out which documents are held out by the hashes beside the
shards, and computes for every held-out document its highest Jaccard similarity with a training document: of the sets
of five consecutive words, counted through an index of all of them, with no sketch and no sampling. Needs numpy and
xxhash. Memory: about 40 bytes per word.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
import xxhash

# The seed of the hashes of texts (docs/format.md).
SEED = 0x6D6978646F776E31
# A run of letters and digits, or one character of a script that is written without spaces.
ALONE = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
WORD = re.compile(f"(?:(?![{ALONE}])[^\\W_])+|[{ALONE}]")


def shingles(text: str) -> np.ndarray:
    """Returns the sorted hashes of all runs of five words; of all words if there are fewer."""
    words = WORD.findall(text.lower())
    size = min(5, max(1, len(words)))
    runs = {" ".join(words[at : at + size]) for at in range(len(words) - size + 1)} if words else set()
    return np.array(sorted(xxhash.xxh3_64_intdigest(run.encode()) for run in runs), dtype=np.uint64)


def text_hash(text: str) -> int:
    """Returns the hash that stands beside the shards: of the text with single spaces."""
    return xxhash.xxh3_64_intdigest(" ".join(text.split()).encode(), seed=SEED)


def hashes_of(corpus: Path, split: str) -> set[int]:
    """Returns the hashes of a split's documents."""
    files = sorted((corpus / split).glob("*.hashes"))
    return {int(one) for file in files for one in np.fromfile(file, dtype="<u8")}


def main() -> None:
    """Prints the shares of held-out documents that have a near-duplicate in training."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("inputs", type=Path, nargs="+")
    parser.add_argument("--field", default="text")
    parser.add_argument("--at", type=float, nargs="+", default=[0.3, 0.4, 0.5, 0.55, 0.6, 0.75, 0.9])
    parser.add_argument("--show", type=int, default=0, help="print the beginnings of the most similar pairs")
    arguments = parser.parse_args()
    held_out_hashes = hashes_of(arguments.corpus, "holdout")
    train_hashes = hashes_of(arguments.corpus, "train")
    train, held_out, missing = [], [], 0
    for path in arguments.inputs:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                text = json.loads(line)[arguments.field]
                if not text:
                    continue
                of = text_hash(text)
                if of in held_out_hashes:
                    held_out.append(text)
                elif of in train_hashes:
                    train.append(text)
                else:
                    missing += 1
    sets = [shingles(text) for text in train]
    sizes = np.array([len(one) for one in sets], dtype=np.int64)
    hashes = np.concatenate(sets) if sets else np.array([], dtype=np.uint64)
    owners = np.repeat(np.arange(len(sets), dtype=np.int32), sizes)
    order = np.argsort(hashes, kind="stable")
    hashes, owners = hashes[order], owners[order]
    highest, pairs = [], []
    for text in held_out:
        own = shingles(text)
        first = np.searchsorted(hashes, own, side="left")
        end = np.searchsorted(hashes, own, side="right")
        found = [owners[a:b] for a, b in zip(first, end, strict=True) if b > a]
        if not found:
            highest.append(0.0)
            continue
        documents, shared = np.unique(np.concatenate(found), return_counts=True)
        similarity = shared / (len(own) + sizes[documents] - shared)
        best = int(np.argmax(similarity))
        highest.append(float(similarity[best]))
        pairs.append((float(similarity[best]), text, train[int(documents[best])]))
    found = np.array(highest)
    print(
        f"{arguments.corpus}: {len(train)} training and {len(held_out)} held-out documents, {missing} in neither part"
    )
    for at in arguments.at:
        count = int((found >= at).sum())
        print(f"  J >= {at}: {count} held-out documents ({100 * count / max(1, len(found)):.2f} %)")
    for similarity, one, other in sorted(pairs, key=lambda pair: -pair[0])[: arguments.show]:
        print(f"  {similarity:.3f}\n    held out: {one[:120]!r}\n    training: {other[:120]!r}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
