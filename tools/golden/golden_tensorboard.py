"""Writes testdata/golden/tensorboard-v1 with tensorboard's own protocol buffers and sums.

    python tools/golden/golden_tensorboard.py testdata/golden/tensorboard-v1

An event file and the metrics.jsonl it is of: crates/runs must write the same bytes (tensorboard_tests.rs has the same
records), and crates/python/tests/test_tensorboard.py reads them back. Needs tensorboard.
"""

import json
import sys
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

NAME = "events.out.tfevents.1500000000.mixdown.000000"
STEPS = [0, 1, 2, 300]


def metrics(step):
    trained = step > 0
    sources = [{"source": source, "loss": 4.0 - step / 7.0, "tokens": 100} for source in ("target", "pretraining")]
    evaluated = {
        "corpus": "pretraining",
        "loss": 3.5 + step / 9.0,
        "standard_error": 0.0,
        "bits_per_byte": 1.25,
        "tokens": 0,
        "sequences": 0,
        "change": {"mean": step / 9.0, "standard_error": 0.01},
    }
    return {
        "step": step,
        "train_loss": 3.9 - step / 5.0 if trained else None,
        "learning_rate": 1e-3,
        "gradient_norm": 0.7 if trained else None,
        "tokens": step * 100,
        "tokens_per_second": 12345.6 if trained else None,
        "data_wait": None,
        "mfu": None,
        "sources": sources if trained else [],
        "evals": [evaluated] if step % 2 == 0 else [],
    }


def values(record):
    """Tag and number, in the order of the file."""
    if record["train_loss"] is not None:
        yield "train/loss", record["train_loss"]
        yield "train/learning_rate", record["learning_rate"]
        yield "train/gradient_norm", record["gradient_norm"]
        yield "speed/tokens_per_second", record["tokens_per_second"]
    for source in record["sources"]:
        yield f"train_loss_by_source/{source['source']}", source["loss"]
    for evaluated in record["evals"]:
        yield f"eval_loss/{evaluated['corpus']}", evaluated["loss"]
        yield f"eval_bits_per_byte/{evaluated['corpus']}", evaluated["bits_per_byte"]
        yield f"eval_change/{evaluated['corpus']}", evaluated["change"]["mean"]


def text(tag, content):
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype=DT_STRING, string_val=[content.encode()], tensor_shape=shape)
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    return Summary.Value(tag=tag, metadata=metadata, tensor=tensor)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    records = [metrics(step) for step in STEPS]
    lines = [json.dumps(record, separators=(",", ":")) + "\n" for record in records]
    (folder / "metrics.jsonl").write_text("".join(lines))
    events = [
        Event(wall_time=1.5e9, file_version="brain.Event:2"),
        Event(wall_time=1.5e9, session_log=SessionLog(status=SessionLog.START)),
    ]
    for record in records:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values(record)])
        events.append(Event(wall_time=1.5e9 + 0.25, step=record["step"], summary=summary))
    summary = Summary(value=[text("samples/1", "    é 漢\n")])
    events.append(Event(wall_time=1.5e9 + 0.5, step=STEPS[-1], summary=summary))
    with open(folder / NAME, "wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
