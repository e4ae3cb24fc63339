"""Compares the event files of runs with their metrics.jsonl, read by the tensorboard package.

    python tools/checks/check_tensorboard.py runs/math-1 runs/math-2

Every training loss, learning rate, gradient norm, source's loss and held-out loss must be there once, step by step,
rounded to f32, also after a run was killed and went on. Needs tensorboard.
"""

import json
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator


def f32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def expected(records):
    series = {}
    for record in records:
        numbers = {"train/loss": record["train_loss"], "train/gradient_norm": record["gradient_norm"]}
        if record["train_loss"] is not None:
            numbers["train/learning_rate"] = record["learning_rate"]
        numbers |= {f"train_loss_by_source/{source['source']}": source["loss"] for source in record["sources"]}
        numbers |= {f"eval_loss/{evaluated['corpus']}": evaluated["loss"] for evaluated in record["evals"]}
        for tag, value in numbers.items():
            if value is not None:
                series.setdefault(tag, []).append((record["step"], f32(value)))
    return series


def check(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={SCALARS: 0})
    events.Reload()
    series = expected([json.loads(line) for line in lines])
    for tag, points in series.items():
        got = [(event.step, event.value) for event in events.Scalars(tag)]
        assert got == points, f"{run}: {tag}: expected {points[:3]}…, got {got[:3]}…"
    files = len(list((run / "tensorboard").iterdir()))
    print(f"{run}: {len(series)} series of {len(lines)} records in {files} event files are equal")


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        check(Path(folder))
