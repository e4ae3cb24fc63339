"""Times a mixture's batches as a training loop in Python gets them, and prints tokens a second.

    python benches/python_speed.py MIX.toml --ids i64 --seconds 2
    python benches/python_speed.py MIX.toml --ids i64 --loader --workers 1

Without --loader: a loop over MixtureDataset.batches(), NumPy arrays, made by one thread. With it: PyTorch's DataLoader
over the dataset. Timed is the loop alone, after a fifth of the time as warm-up, from a warm page cache; importing,
opening and starting workers are outside. The same batches are read with every setting. With --memory it also prints
the proportional set size of all its processes, in MiB, to standard error.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import mixdown

IDS = {"u16": "uint16", "u32": "uint32", "i32": "int32", "i64": "int64"}


def batches_of(options):
    labels = {"labels": "hf"} if options.hf else {}
    if not options.loader:
        dataset = mixdown.MixtureDataset(options.mixture, 1 << 40, dtype=IDS[options.ids], format="numpy", **labels)
        return dataset.batches(threads=options.threads)
    from torch.utils.data import DataLoader

    dataset = mixdown.MixtureDataset(options.mixture, 1 << 40, dtype=IDS[options.ids], **labels)
    sampler = mixdown.StepSampler(dataset)
    collate = mixdown.collate_by_slot if options.by_slot else mixdown.collate
    return DataLoader(dataset, batch_sampler=sampler, num_workers=options.workers, collate_fn=collate)


def proportional_mib():
    """Of this process and its children: pages that several share are divided among them."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if os.getpid() in (parent, int(process.name)):
                lines = (process / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
        except (OSError, IndexError):
            continue
    return total / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mixture", help="a MIX.toml")
    parser.add_argument("--ids", choices=IDS, default="i64")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--loader", action="store_true", help="through PyTorch's DataLoader")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--by-slot", action="store_true", help="collate_by_slot")
    parser.add_argument("--hf", action="store_true", help='labels="hf"')
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    batches = iter(batches_of(options))
    next(batches)
    warm = time.perf_counter() + options.seconds / 5
    while time.perf_counter() < warm:
        next(batches)
    tokens, start = 0, time.perf_counter()
    while time.perf_counter() - start < options.seconds:
        batch = next(batches)
        tokens += batch["labels"].shape[0] * (batch["labels"].shape[1] - options.hf)
    print(tokens / (time.perf_counter() - start))
    if options.memory:
        print(f"{proportional_mib():.0f}", file=sys.stderr)


if __name__ == "__main__":
    main()
