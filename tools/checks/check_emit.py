"""Reads the batches of `mixdown mix --emit arrow` with pyarrow and compares them with the token files.

    python tools/checks/check_emit.py MIXDOWN MIX.toml [--steps 40] [--world-size 4]

Every row must be the tokens that `mix --order` says stand in its slot, for each rank of one, two and
`--world-size` ranks; all ranks together must be the batch; and a run that goes on from the state of some
batch must continue byte for byte. Needs pyarrow and numpy; corpora of one shard, read as raw arrays.
"""

import argparse
import json
import pathlib
import random
import subprocess
import tomllib

import numpy
import pyarrow.ipc


def batches(mixdown, mixture, *options):
    command = [str(mixdown), "mix", str(mixture), "--emit", "arrow", *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        with pyarrow.ipc.open_stream(process.stdout) as stream:
            read = list(stream)
            metadata = {key.decode(): value.decode() for key, value in stream.schema.metadata.items()}
    assert process.returncode == 0, process.returncode
    return read, metadata


def matrix(batch, name):
    column = batch.column(name)
    return column.values.to_numpy().reshape(len(column), -1)


def streams(mixture):
    """Per source the tokens of its training part, mapped."""
    config = tomllib.loads(mixture.read_text(encoding="utf-8"))
    tokens = {}
    for source in config["source"]:
        folder = mixture.parent / source["corpus"]
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        shards = manifest["train"]["shards"]
        assert len(shards) == 1, "a corpus of one shard"
        adopted = shards[0].get("adopted")
        path = folder / adopted["path"] if adopted else folder / "train" / f"{shards[0]['file']}.bin"
        header = adopted.get("header_bytes", 0) if adopted else 0
        dtype = {"uint16": "<u2", "int32": "<i4"}[manifest["dtype"]]
        tokens[source["name"]] = numpy.memmap(path, dtype, "r", header)
        limit = min(source.get("max_tokens", shards[0]["tokens"]), shards[0]["tokens"])
        tokens[source["name"]] = tokens[source["name"]][:limit]
    return tokens


def row(tokens, start, length):
    targets = (len(tokens) - 1) // length * length
    places = (start + numpy.arange(length)) % targets + 1
    return numpy.concatenate([tokens[start : start + 1], tokens[places]]).astype(numpy.int32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mixdown", type=pathlib.Path)
    parser.add_argument("mixture", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--world-size", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    mixdown, mixture, steps = arguments.mixdown.resolve(), arguments.mixture.resolve(), arguments.steps
    whole, metadata = batches(mixdown, mixture, "--steps", steps)
    length, size = int(metadata["mixdown.sequence_length"]), int(metadata["mixdown.batch_size"])
    names = json.loads(metadata["mixdown.sources"])
    order = [str(mixdown), "mix", str(mixture), "--order", f"0..{steps * size}"]
    lines = subprocess.run(order, check=True, capture_output=True, text=True).stdout.splitlines()
    order = [json.loads(line) for line in lines]
    tokens = streams(mixture)
    assert len(whole) == steps
    for batch in whole:
        for ids, source, slot in zip(matrix(batch, "tokens"), batch["source"], batch["slot"]):
            planned = order[slot.as_py()]
            assert names[source.as_py()] == planned["source"]
            assert (ids == row(tokens[planned["source"]], planned["start_token"], length)).all()
    rows = 0
    for world_size in {1, 2, arguments.world_size}:
        parts = []
        for rank in range(world_size):
            options = ["--steps", steps, "--rank", rank, "--world-size", world_size, "--threads", 1 + rank % 3]
            parts.append(batches(mixdown, mixture, *options)[0])
        for step, batch in enumerate(whole):
            read = numpy.concatenate([matrix(part[step], "tokens") for part in parts])
            slots = numpy.concatenate([part[step]["slot"].to_numpy() for part in parts])
            assert (read[numpy.argsort(slots)] == matrix(batch, "tokens")).all()
            rows += len(read)
    generator = random.Random(arguments.seed)
    for _ in range(5):
        step = generator.randrange(steps - 1)
        state = whole[step]["state"][0].as_py().hex()
        rest, _ = batches(mixdown, mixture, "--steps", steps, "--resume", state)
        assert len(rest) == steps - step - 1
        assert all(one.equals(other) for one, other in zip(rest, whole[step + 1 :]))
    print(f"{steps} batches of {size} rows, {rows} rows over ranks, 5 resumes: 0 differ")


if __name__ == "__main__":
    main()
