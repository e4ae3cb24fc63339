#!/usr/bin/env python3
"""Mutates every kind of file that mixdown reads and gives it to the commands that read it.

usage: tools/faults/mutations.py [--binary target/release/mixdown] [--rounds 700] [--seed 1] [--jobs N]
                                 [--only FORMAT] [--round I] [--keep FOLDER]

A tiny corpus, run, sweep and their exports are made by the binary first. Then each format has --rounds mutations of
its files: flipped bits, runs of bytes set to 0 or 255, truncations, deleted, doubled and inserted spans, numbers
and lengths set to extremes, deep nesting, swapped and doubled tokens. Where a sum would catch each of them (the
seal of a manifest, BLAKE3SUMS of a checkpoint), a share of the rounds takes the sum away, so that what stands
behind it is reached as well. Case I of a format is the same for the same seed on every machine; --only FORMAT
--round I runs just that one.

Wrong is a panic, an abort, a signal, more than 60 s, more than 2 GB of resident memory or a file above 256 MB.
Prints a line for every wrong case (with its words), then counts by format and outcome. --keep FOLDER keeps the
mutated files of wrong cases. Exit code 1 if anything is wrong.
"""

import argparse
import collections
import json
import multiprocessing
import os
import random
import re
import shutil
import struct
import sys
import tempfile
from pathlib import Path

import bounded
import tiny_world
from mutated_formats import RUNS, formats

ROOT = Path(__file__).resolve().parents[2]

NUMBERS = [
    b"0", b"-1", b"1", b"2", b"255", b"65535", b"65536", b"2147483647", b"2147483648", b"4294967295", b"4294967296",
    b"9223372036854775807", b"9223372036854775808", b"18446744073709551615", b"18446744073709551616",
    b"-9223372036854775808", b"1e308", b"1e-308", b"1e999", b"-0.0", b"NaN", b"nan", b"inf", b"-inf", b"null", b"true",
    b'"1"', b"[]", b"{}", b"0.5", b"9" * 400, b"1" + b"0" * 60,
]  # fmt: skip
INTEGERS = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[-+]?[0-9][0-9_.eE+-]*|[A-Za-z_]+|\{%-?|-?%\}|\{\{|\}\}|[^\sA-Za-z0-9]|\s+')
NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
OPENINGS = [b"[", b"(", b'{"a":', b"{", b"{% if 1 %}", b"{% for a in [1] %}", b"{{", b"-",
            b"not ", b'{"a":[', b"a.", b"a[0]",
            b"<", b"\\", b'"', b"(?:", b"(a*)*", b"a|", b"1+", b"'a'~"]  # fmt: skip


def without_sums_of_the_run(folder):
    """Makes a run's folder one of an older version, which has no sums and does not say that it must have some."""
    settings = folder / "run.toml"
    if settings.exists():
        lines = settings.read_bytes().splitlines(keepends=True)
        settings.write_bytes(b"".join(line for line in lines if not line.startswith(b"# The BLAKE3 sums")))
        (folder / "BLAKE3SUMS").unlink(missing_ok=True)


def place(rng, length):
    """An offset of a file: anywhere, or at its head or foot, where lengths stand."""
    kind = rng.random()
    if kind < 0.25:
        return rng.randrange(min(length, 64))
    if kind < 0.5:
        return max(0, length - 1 - rng.randrange(min(length, 600)))
    return rng.randrange(length)


def mutate_bytes(rng, data):
    """One mutation of any bytes."""
    data = bytearray(data)
    if not data:
        return bytes([rng.randrange(256)] * rng.randrange(4))
    at, length = place(rng, len(data)), 1 << rng.randrange(8)
    kind = rng.randrange(8)
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[at : at + length] = bytes([rng.choice([0, 255])]) * len(data[at : at + length])
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        del data[at : at + length]
    elif kind == 4:
        data[at:at] = data[at : at + length]
    elif kind == 5:
        data[at] = rng.randrange(256)
    elif kind == 6:
        width = rng.choice([1, 2, 4, 8])
        at -= at % rng.choice([1, width])
        value = rng.choice(INTEGERS) & (256**width - 1)
        data[at : at + width] = value.to_bytes(width, rng.choice(["little", "little", "big"]))
    else:
        data[at : at + 1] = varint(rng.choice(INTEGERS))
    return bytes(data)


def varint(value):
    """The number as Thrift and protocol buffers write it."""
    out = bytearray()
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    out.append(value)
    return bytes(out)


def mutate_text(rng, data):
    """One mutation of a text's tokens, numbers or nesting; now and then of its bytes."""
    kind = rng.randrange(12)
    if kind == 0:
        return mutate_bytes(rng, data)
    numbers = list(NUMBER.finditer(data))
    if kind > 5 and numbers:
        found = rng.choice(numbers)
        return data[: found.start()] + rng.choice(NUMBERS) + data[found.end() :]
    tokens = TOKEN.findall(data)
    if len(tokens) < 3:
        return mutate_bytes(rng, data)
    one, other = rng.randrange(len(tokens)), rng.randrange(len(tokens))
    if kind in (1, 9):
        tokens[one], tokens[other] = tokens[other], tokens[one]
    elif kind == 2:
        del tokens[one : one + rng.choice([1, 1, 2, 8])]
    elif kind in (3, 10):
        tokens[one:one] = tokens[one : one + rng.choice([1, 1, 2, 8, 30])]
    elif kind in (4, 11):
        tokens[one] = rng.choice(tokens)
    else:
        tokens[one] = rng.choice(OPENINGS) * rng.choice([3, 100, 130, 1000, 20000]) + rng.choice([b"", tokens[one]])
    return b"".join(tokens)


def mutated(rng, form, data):
    """An original with one to four mutations."""
    whole, put_back = data, None
    if form.split and rng.random() < 0.5:
        data, put_back = form.split(data)
    change = mutate_text if form.text or put_back else mutate_bytes
    for _ in range(rng.choice([1, 1, 2, 4])):
        data = change(rng, data)
    data = put_back(data) if put_back else data
    return data if data != whole else data + b"\0"


def run_case(task):
    """Makes and runs case `index` of a format. Returns the format's name, the outcome and a line about a wrong one."""
    binary, world, name, index, seed, keep = task
    form = next(form for form in FORMATS if form.name == name)
    rng = random.Random(f"{seed}/{name}/{index}")
    data = mutated(rng, form, rng.choice(form.originals))
    argv = rng.choice(form.commands)
    bare = rng.random() < 0.75
    outcome, argv, path = try_file(binary, world, form, data, argv, bare)
    line = None
    if outcome.wrong:
        words = outcome.words if len(outcome.words) < 900 else outcome.words[:400] + " ... " + outcome.words[-400:]
        short = " ".join(part if len(part) < 80 else part[:80] + "..." for part in argv)
        line = (
            f"{outcome.kind}: {name} round {index}, exit code {outcome.code}, {outcome.memory_bytes >> 20} MB, "
            f"{outcome.seconds:.1f} s: mixdown {short}\n    {words}"
        )
        if keep:
            (Path(keep) / f"{name}-{index}{path.suffix}").write_bytes(data)
    return name, outcome.kind, outcome.memory_bytes, outcome.seconds, line


def try_file(binary, world, form, data, argv, bare):
    """Gives a file of this format to a command; `bare` without the sums beside it."""
    case = world / f"case-{os.getpid()}"
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir()
    path = Path(form.file.format(case=case))
    if form.tree:
        shutil.copytree(world / form.tree, case / "t", symlinks=True)
        path = case / "t" / form.file
        if bare:
            for dropped in form.drop:
                (case / "t" / dropped).unlink(missing_ok=True)
            if form.drop:
                without_sums_of_the_run(case / "t")
    path.write_bytes(data)
    if form.tree == "c":
        (case / "mix.toml").write_text(tiny_world.MIX.replace('"c"', '"t"').replace('"d"', '"../d"'))
    content = data[:100_000].decode("utf-8", "replace").replace("\0", "") or "x"
    argv = [part.replace("{case}", case.name).replace("{content}", content) for part in argv]
    outcome = bounded.run([binary, *argv, "-q"], world)
    shutil.rmtree(case, ignore_errors=True)
    return outcome, argv, path


def check_originals(binary, world, chosen):
    """Stops where a command refuses an original: its mutations would try nothing."""
    bad = 0
    for form in chosen:
        for argv in form.commands:
            outcomes = [try_file(binary, world, form, data, argv, True)[0] for data in form.originals]
            if not form.refused and all(outcome.kind != "done" for outcome in outcomes):
                print(f"{form.name}: {' '.join(argv)}: refuses the original: {outcomes[0].words}")
                bad += 1
    if bad:
        sys.exit(2)


def more_of_the_world(binary, world):
    """Adds a run that stopped half way, a fit and a state of a mixture."""
    shutil.copytree(world / "r", world / "half", symlinks=True)
    for name in ("summary.json", "losses.json"):
        (world / "half" / name).unlink()
    shutil.rmtree(world / "half/checkpoints/step-4")
    (world / "runs.jsonl").write_bytes(RUNS.read_bytes())
    bounded.run([binary, "fit", "runs.jsonl", "--draws", "20", "--out", "fit.json", "-q"], world)
    # The rows of another sweep stay, and the table of all of them is written as Parquet.
    shutil.copytree(world / "sweep", world / "many", symlinks=True)
    with open(world / "many/runs.jsonl", "ab") as rows:
        rows.write(RUNS.read_bytes())
    bounded.run([binary, "sweep", "sweep.toml", "--out", "many", "-q"], world)
    # A description without what a state of the run's own mixture lacks.
    (world / "r-mix.toml").write_text(tiny_world.RUN.split("[mixture]")[1].split("[train]")[0].replace("mixture.", ""))
    (world / "npy").mkdir()
    for name in ("train", "val"):
        ids = (world / f"exports/nanogpt/{name}.bin").read_bytes()
        head = f"{{'descr': '<u2', 'fortran_order': False, 'shape': ({len(ids) // 2},), }}".ljust(117).encode() + b"\n"
        (world / f"npy/{name}.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + ids)
    shutil.copytree(world / "half", world / "gone-on", symlinks=True)
    went = bounded.run([binary, "train", "run.toml", "--out", "gone-on", "-q"], world)
    if went.kind != "done":
        sys.exit(f"the run that stopped half way does not go on: {went.words}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=ROOT / "target/release/mixdown", type=Path)
    parser.add_argument("--rounds", default=700, type=int, help="mutations of each format")
    parser.add_argument("--seed", default=1, type=int)
    parser.add_argument("--jobs", default=os.cpu_count() or 1, type=int)
    parser.add_argument("--only", action="append", help="this format alone; may be repeated")
    parser.add_argument("--round", type=int, help="this case alone")
    parser.add_argument("--keep", help="a folder that gets the files of wrong cases")
    arguments = parser.parse_args()
    binary = arguments.binary.resolve()
    bounded.bound_this_process()
    if arguments.keep:
        Path(arguments.keep).mkdir(parents=True, exist_ok=True)
    counts = collections.defaultdict(collections.Counter)
    most = collections.defaultdict(lambda: [0, 0.0])
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="mutations-") as scratch:
        world = Path(scratch)
        tiny_world.make(binary, world)
        more_of_the_world(binary, world)
        global FORMATS
        FORMATS = formats(world)
        state = json.loads((world / "r/checkpoints/step-2/state.json").read_text())["mixer"]
        next(form for form in FORMATS if form.name == "mix-state").originals = [json.dumps(state).encode()]
        chosen = [form for form in FORMATS if not arguments.only or form.name in arguments.only]
        check_originals(binary, world, chosen)
        rounds = range(arguments.rounds) if arguments.round is None else [arguments.round]
        tasks = [
            (binary, world, form.name, index, arguments.seed, arguments.keep) for form in chosen for index in rounds
        ]
        with multiprocessing.get_context("fork").Pool(arguments.jobs) as pool:
            for name, kind, memory, seconds, line in pool.imap_unordered(run_case, tasks, chunksize=8):
                counts[name][kind] += 1
                most[name] = [max(most[name][0], memory), max(most[name][1], seconds)]
                if line:
                    wrong += 1
                    print(line, flush=True)
    kinds = ["done", "refused", "error", *sorted(bounded.WRONG)]
    print(f"{'format':24}" + "".join(f"{kind:>9}" for kind in kinds) + f"{'most MB':>9}{'most s':>8}")
    for name, of in counts.items():
        memory, seconds = most[name]
        print(f"{name:24}" + "".join(f"{of[kind]:>9}" for kind in kinds) + f"{memory >> 20:>9}{seconds:>8.1f}")
    total = sum(counts.values(), collections.Counter())
    print(f"{'all':24}" + "".join(f"{total[kind]:>9}" for kind in kinds))
    print(f"{total.total()} mutations, wrong: {wrong}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
