#!/usr/bin/env python3
"""Takes a million batches through the Python package and watches memory and descriptors.

usage: tools/faults/soak.py [--binary target/release/mixdown] [--batches 1000000] [--shards 300] [--seed 1]

Needs the Python package (and the same version's binary, which imports --shards small token files as one corpus),
NumPy and PyTorch. Six parts share the batches, with access "map" and "read": the package's own threads (a new
iterator every 20,000 batches), a DataLoader with two forked workers that stay, and forks that live for 500 batches
each. Twenty times a part, the resident memory of this process and its children (summed as proportional set size
where Linux has it) and their open descriptors are printed. Wrong is a part whose last third takes more than 10 %
and 16 MB more memory, or more than three descriptors more, than its middle third. Exit code 1 if anything is wrong.
"""

import argparse
import array
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mixdown
from torch.utils.data import DataLoader

ROOT = Path(__file__).resolve().parents[2]
ROWS, LENGTH = 4, 16


def make_corpus(binary, folder, shards, seed):
    """A corpus of many shards: token files of two-byte ids that are imported in place."""
    rng = random.Random(seed)
    words = [chr(97 + number % 26) + chr(97 + number // 26) for number in range(200)]
    (folder / "text.jsonl").write_text(
        "".join(json.dumps({"text": " ".join(rng.choices(words, k=40))}) + "\n" for _ in range(50))
    )
    run = [
        binary,
        "tokenizer",
        "train",
        folder / "text.jsonl",
        "--vocab-size",
        "300",
        "--out",
        folder / "tokenizer.json",
    ]
    subprocess.run(run, check=True, capture_output=True)
    (folder / "c").mkdir()
    for number in range(shards + 1):
        ids = array.array("H", [rng.randrange(1, 300) if place % 50 else 0 for place in range(1, 4001)])
        (folder / "c" / ("val.bin" if number == shards else f"train-{number:05}.bin")).write_bytes(ids.tobytes())
    run = [binary, "import", folder / "c", "--tokenizer", folder / "tokenizer.json", "--format", "raw"]
    subprocess.run(run, check=True, capture_output=True)
    return folder / "c"


def family():
    """This process and its children."""
    found = [os.getpid()]
    for process in found:
        for task in Path(f"/proc/{process}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def measure():
    """Megabytes and open descriptors of the family."""
    kilobytes = descriptors = 0
    for process in family():
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
            kilobytes += int(text.split("Pss:")[1].split()[0])
            descriptors += len(os.listdir(f"/proc/{process}/fd"))
        except (OSError, IndexError):
            continue
    return kilobytes / 1024, descriptors


class Watch:
    """Measures of one part over its batches."""

    def __init__(self, name, batches):
        self.name, self.every, self.taken, self.seen = name, max(1, batches // 20), 0, []
        self.began = time.monotonic()

    def count(self, batches=1):
        """Counts batches, and measures where it is time."""
        before = self.taken // self.every
        self.taken += batches
        if self.taken // self.every > before:
            megabytes, descriptors = measure()
            self.seen.append((megabytes, descriptors))
            print(f"{self.name}: {self.taken} batches, {megabytes:.0f} MB, {descriptors} descriptors", flush=True)

    def wrong(self):
        """Says what grew, if anything did."""
        third = max(1, len(self.seen) // 3)
        middle, last = self.seen[third : 2 * third] or self.seen[:1], self.seen[-third:]
        (memory, descriptors), (memory_end, descriptors_end) = (
            [max(column) for column in zip(*part)] for part in (middle, last)
        )
        rate = self.taken / (time.monotonic() - self.began)
        grown = memory_end > 1.1 * memory + 16 or descriptors_end > descriptors + 3
        print(
            f"{self.name}: {'GROWN' if grown else 'flat'}: {memory:.0f} to {memory_end:.0f} MB, {descriptors} to "
            f"{descriptors_end} descriptors, {rate:.0f} batches/s",
            flush=True,
        )
        return grown


def threads(dataset, watch, batches):
    """The package's own threads."""
    while watch.taken < batches:
        with dataset.batches(start=watch.taken % 1000, threads=2) as made:
            for _ in zip(range(20_000), made):
                watch.count()


def workers(dataset, watch, batches):
    """A DataLoader whose workers stay."""
    sampler = mixdown.StepSampler(dataset)
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=2, collate_fn=mixdown.collate_by_slot,
                        multiprocessing_context="fork", persistent_workers=True)  # fmt: skip
    for _ in zip(range(batches), loader):
        watch.count()


def forks(dataset, watch, batches):
    """Children that take some batches each and end."""
    while watch.taken < batches:
        child = os.fork()
        if child == 0:
            try:
                for step in range(watch.taken, watch.taken + 500):
                    dataset.batch(step % len(dataset) // ROWS)
                os._exit(0)
            except BaseException as error:
                print(f"a fork fails: {error!r}", flush=True)
                os._exit(1)
        for step in range(50):
            dataset.batch(step)
        if os.waitpid(child, 0)[1]:
            sys.exit(1)
        watch.count(550)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=ROOT / "target/release/mixdown", type=Path)
    parser.add_argument("--batches", default=1_000_000, type=int)
    parser.add_argument("--shards", default=300, type=int)
    parser.add_argument("--seed", default=1, type=int)
    arguments = parser.parse_args()
    grown = []
    total = 0
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        corpus = make_corpus(arguments.binary.resolve(), Path(scratch), arguments.shards, arguments.seed)
        for access in ("map", "read"):
            for name, part, share in (("threads", threads, 0.3), ("workers", workers, 0.1), ("forks", forks, 0.1)):
                batches = int(arguments.batches * share)
                mixture = mixdown.Mixture(sequence_length=LENGTH, batch_size=ROWS, seed=7, access=access,
                                          sources={"all": (corpus, "1")})  # fmt: skip
                dataset = mixdown.MixtureDataset(mixture, batches + 1000)
                watch = Watch(f"{name}, {access}", batches)
                part(dataset, watch, batches)
                total += watch.taken
                if watch.wrong():
                    grown.append(watch.name)
    print(f"{total} batches; grown: {', '.join(grown) or 'nothing'}")
    sys.exit(1 if grown else 0)


if __name__ == "__main__":
    main()
