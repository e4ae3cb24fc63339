"""Event files of runs, read by the tensorboard package; the trainer that writes them is in the Rust binary."""

import json
import struct
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[3] / "testdata" / "golden" / "tensorboard-v1"


def f32(value):
    """TensorBoard's scalars are f32."""
    return struct.unpack("f", struct.pack("f", value))[0]


def test_event_files_hold_what_metrics_jsonl_says():
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(GOLDEN), size_guidance={reader.SCALARS: 0, reader.TENSORS: 0})
    events.Reload()

    def scalars(tag):
        return [(event.step, event.value) for event in events.Scalars(tag)]

    records = [json.loads(line) for line in (GOLDEN / "metrics.jsonl").read_text().splitlines()]
    trained = [record for record in records if record["train_loss"] is not None]
    evaluated = [record for record in records if record["evals"]]
    assert scalars("train/loss") == [(r["step"], f32(r["train_loss"])) for r in trained]
    assert scalars("train/learning_rate") == [(r["step"], f32(r["learning_rate"])) for r in trained]
    assert scalars("train/gradient_norm") == [(r["step"], f32(r["gradient_norm"])) for r in trained]
    assert scalars("speed/tokens_per_second") == [(r["step"], f32(r["tokens_per_second"])) for r in trained]
    for place, source in enumerate(("target", "pretraining")):
        expected = [(r["step"], f32(r["sources"][place]["loss"])) for r in trained]
        assert scalars(f"train_loss_by_source/{source}") == expected
    for tag, value in [
        ("eval_loss/pretraining", lambda e: e["loss"]),
        ("eval_bits_per_byte/pretraining", lambda e: e["bits_per_byte"]),
        ("eval_change/pretraining", lambda e: e["change"]["mean"]),
    ]:
        assert scalars(tag) == [(r["step"], f32(value(r["evals"][0]))) for r in evaluated]
    (text,) = events.Tensors("samples/1")
    assert (text.step, text.tensor_proto.string_val[0].decode()) == (300, "    é 漢\n")
    assert events.SummaryMetadata("samples/1").plugin_data.plugin_name == "text"
