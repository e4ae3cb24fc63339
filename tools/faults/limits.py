#!/usr/bin/env python3
"""Gives every option of every command, and every key of MIX.toml, RUN.toml and SWEEP.toml, extreme numbers.

usage: tools/faults/limits.py [--binary target/release/mixdown] [--jobs N] [--only WORD] [--seconds 10]
                              [--share 1.0] [--seed 1]

The options are those that `mixdown COMMAND --help` names. Each is added to (or replaced in) a call that works, on a
tiny corpus and run that the binary makes first. What is long by right (2^31 texts, a million steps) is interrupted
after --seconds and has as long again to end. Wrong is a panic, an abort, a signal, a command that neither ends nor
can be interrupted, more than 2 GB of resident memory or a file above 256 MB. --only takes the calls that contain
WORD, --share a random share of all calls. Prints every wrong call with its words, then counts by command. Exit code
1 if anything is wrong.
"""

import argparse
import collections
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import bounded
import tiny_world

ROOT = Path(__file__).resolve().parents[2]

NUMBERS = [
    "0", "-1", "1", "2", "0.5", "65536", "1000000", "2147483646", "2147483647", "2147483648", "4294967296",
    "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "1e308",
    "1e-308", "1e400", "-1e308", "nan", "inf", "-inf", "", "0%", "100%", "101%", "9" * 400, "1e18 tokens",
    "18446744073709551615 steps", "0/0", "0/18446744073709551615", "18446744073709551614/18446744073709551615",
    "0..18446744073709551615", "0,1,nan",
]  # fmt: skip

TRAIN = ["train", "--pretraining", "c", "--steps", "2", "--hidden-size", "8", "--layers", "1", "--heads", "1",
         "--sequence-length", "16", "--batch-size", "2", "--eval-sequences", "4", "--out", "{case}/r"]  # fmt: skip
FINETUNE = ["train", "--init", "r/best", "--target", "d", "--pretraining", "c", "--inject", "1%", "--steps", "2",
            "--sequence-length", "16", "--batch-size", "2", "--out", "{case}/r"]  # fmt: skip
DESIGN = ["design", "--budget", "0.1", "--model-size", "1M", "--target-tokens", "1M", "--simulations", "2"]
PREPARE = ["prepare", "text.jsonl", "--tokenizer", "tokenizer.json", "--out", "{case}/o", "--holdout", "20%"]
CALLS = [
    ["tokenizer", "train", "text.jsonl", "--vocab-size", "280", "--out", "{case}/tokenizer.json"],
    PREPARE,
    [*PREPARE, "--pack", "256"],
    ["import", "{case}/t", "--tokenizer", "tokenizer.json", "--sample-sums=50%"],
    ["export", "c", "--to", "megatron", "--out", "{case}/o"],
    ["export", "c", "--to", "nanogpt", "--out", "{case}/o"],
    ["inspect", "c"],
    ["inspect", "c", "--overlap", "d"],
    ["verify", "c"],
    ["mix", "mix.toml", "--steps", "20"],
    ["mix", "mix.toml", "--steps", "20", "--order", "0..4"],
    ["mix", "mix.toml", "--steps", "20", "--compare", "mix.toml"],
    ["mix", "mix.toml", "--steps", "20", "--emit", "arrow"],
    ["bench", "mix.toml", "--seconds", "0.1"],
    TRAIN,
    [*TRAIN, "--dry-run"],
    FINETUNE,
    [*FINETUNE, "--lora-rank", "2"],
    [*FINETUNE, "--dry-run"],
    ["train", "--pretraining", "c", "--size", "tiny", "--out", "{case}/r", "--dry-run"],
    ["sweep", "sweep.toml", "--out", "{case}/s", "--dry-run"],
    ["eval", "r/best", "--corpus", "c", "--sequence-length", "16", "--sequences", "2"],
    ["generate", "r/best", "--prompt", "the", "--max-tokens", "2"],
    ["generate", "r/best", "--prompt", "", "--max-tokens", "2", "--temperature", "0"],
    ["fit", "runs.jsonl", "--domain", "math_latex", "--draws", "3", "--budget", "0.1", "--model-size", "1M",
     "--target-tokens", "1M"],
    DESIGN,
    ["report", "sweep", "--draws", "3", "--out", "{case}/page.html"],
    ["watch", "r", "--json"],
    ["demo", "--pretraining", "text.jsonl", "--target", "text.jsonl", "--out", "{case}/demo", "--vocab-size", "300",
     "--pretraining-steps", "1", "--finetuning-steps", "1", "--target-tokens", "100"],
]  # fmt: skip
LORA = tiny_world.RUN.replace(
    'family = "llama"\nvocab_size = 300\nhidden_size = 8\nintermediate_size = 32\n', 'init = "r/best"\n'
)
LORA = LORA.replace("layers = 1\nheads = 1\nseed = 0\n", "", 1).replace("ema = 0.9\n", "")
LORA = LORA.replace("[eval]\n", '[train.lora]\nrank = 2\nalpha = 16.0\ntargets = ["q_proj"]\n\n[eval]\n', 1)
BLOCKS = tiny_world.RUN.replace('window_offset = "epoch"', 'window_offset = "anywhere"\nshuffle_block = 4')
BLOCKS = BLOCKS.replace(
    "[train]\n",
    '[[mixture.stage]]\nstart = "2 steps"\nto = { target = "95%", pretraining = "5%" }\nover = "2 steps"\n\n[train]\n',
    1,
)
FILES = [
    (
        tiny_world.MIX,
        [
            ["mix", "{case}.toml", "--steps", "20"],
            ["mix", "{case}.toml", "--steps", "20", "--emit", "arrow"],
            ["mix", "{case}.toml", "--steps", "20", "--order", "0..4"],
        ],
    ),
    (
        tiny_world.RUN,
        [["train", "{case}.toml", "--out", "{case}/r"], ["train", "{case}.toml", "--out", "{case}/r", "--dry-run"]],
    ),
    (LORA, [["train", "{case}.toml", "--out", "{case}/r"], ["train", "{case}.toml", "--out", "{case}/r", "--dry-run"]]),
    (
        BLOCKS,
        [["train", "{case}.toml", "--out", "{case}/r"], ["train", "{case}.toml", "--out", "{case}/r", "--dry-run"]],
    ),
    (
        tiny_world.SWEEP,
        [["sweep", "{case}.toml", "--out", "{case}/s", "--dry-run"], ["sweep", "{case}.toml", "--out", "{case}/s"]],
    ),
]
SETTING = re.compile(
    r"(?:(?<=\n)|(?<=\{ )|(?<=, ))(\w+) = (\"[0-9][^\"\n]*\"|[0-9][0-9a-z_.+-]*|\[[^\]\n]*[0-9][^\]\n]*\])"
)


def options(binary, command):
    """The options of a command that take a value, of `--help`."""
    text = subprocess.run([binary, *command, "--help"], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^ +(?:-\w, )?(--[a-z-]+)(?: |\[=|=)?<", text, re.MULTILINE)
    return sorted(set(found) - {"--device", "--precision"})


def with_option(call, option, value):
    """The call with the option replaced or added; values beginning with a dash need an equals sign."""
    out, skip = [], False
    for part in call:
        if not skip and part != option and not part.startswith(option + "="):
            out.append(part)
        skip = part == option
    return [*out, f"{option}={value}"]


def option_tasks(binary):
    """All calls with one option of extreme value."""
    for call in CALLS:
        words = [word for word in call[:2] if word in ("tokenizer", "train")] if call[0] == "tokenizer" else call[:1]
        for option in options(binary, words):
            for value in NUMBERS:
                yield " ".join(words), with_option(call, option, value), None


def toml_value(old, number):
    """An extreme number in the place of a value: as it is, quoted where the old one is, in a list where that is one."""
    if old.startswith('"'):
        unit = re.sub(r'^"[0-9._]+[kM]?', "", old[:-1])
        return f'"{number}{unit}"'
    return f"[{number}]" if old.startswith("[") else number or '""'


def file_tasks():
    """All descriptions with one number of extreme value."""
    for text, calls in FILES:
        for setting in SETTING.finditer(text):
            for number in NUMBERS:
                changed = text[: setting.start(2)] + toml_value(setting.group(2), number) + text[setting.end(2) :]
                for call in calls:
                    yield f"{call[0]} {call[1][6:]}", call, (f"{setting.group(1)} = {number}", changed)


def run_task(task):
    """Runs one call; gives the command's name, the outcome and a line about a wrong one."""
    binary, world, seconds, (name, call, description) = task
    case = world / f"case-{os.getpid()}"
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir()
    if call[0] == "import":
        shutil.copytree(world / "exports/nanogpt", case / "t")
    if description:
        (world / f"{case.name}.toml").write_text(description[1])
    argv = [part.replace("{case}", case.name) for part in call]
    outcome = bounded.run([binary, *argv, "-q"], world, timeout_s=2 * seconds, interrupt_s=seconds)
    line = None
    if outcome.wrong:
        what = f" with {description[0][:200]}" if description else ""
        line = (
            f"{outcome.kind}: exit code {outcome.code}, {outcome.memory_bytes >> 20} MB, {outcome.seconds:.1f} s: "
            f"mixdown {' '.join(argv)[:400]}{what}\n    {outcome.words[:600]}"
        )
    shutil.rmtree(case, ignore_errors=True)
    return name, outcome.kind, outcome.memory_bytes, outcome.seconds, line


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=ROOT / "target/release/mixdown", type=Path)
    parser.add_argument("--jobs", default=os.cpu_count() or 1, type=int)
    parser.add_argument("--only", default="", help="the calls alone that contain this")
    parser.add_argument("--seconds", default=10, type=float, help="before long work is interrupted")
    parser.add_argument("--share", default=1.0, type=float, help="a random share of the calls")
    parser.add_argument("--seed", default=1, type=int, help="what chooses that share")
    arguments = parser.parse_args()
    binary = arguments.binary.resolve()
    bounded.bound_this_process()
    counts = collections.defaultdict(collections.Counter)
    most = collections.defaultdict(int)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="limits-") as scratch:
        world = Path(scratch)
        tiny_world.make(binary, world)
        shutil.copyfile(ROOT / "benches/results/2026-12-01-xeon-2-cores/sweep/runs.jsonl", world / "runs.jsonl")
        tasks = [*option_tasks(binary), *file_tasks()]
        tasks = [task for task in tasks if arguments.only in " ".join(task[1]) + " " + (task[2] or [""])[0]]
        rng = random.Random(arguments.seed)
        tasks = [task for task in tasks if rng.random() < arguments.share]
        tasks = [(binary, world, arguments.seconds, task) for task in tasks]
        with multiprocessing.get_context("fork").Pool(arguments.jobs) as pool:
            for name, kind, memory, _, line in pool.imap_unordered(run_task, tasks, chunksize=4):
                counts[name][kind] += 1
                most[name] = max(most[name], memory)
                if line:
                    wrong += 1
                    print(line, flush=True)
    kinds = ["done", "refused", "error", "stopped", *sorted(bounded.WRONG)]
    print(f"{'command':24}" + "".join(f"{kind:>9}" for kind in kinds) + f"{'most MB':>9}")
    for name, of in counts.items():
        print(f"{name:24}" + "".join(f"{of[kind]:>9}" for kind in kinds) + f"{most[name] >> 20:>9}")
    total = sum(counts.values(), collections.Counter())
    print(f"{total.total()} calls, wrong: {wrong}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
