"""Step time and peak memory of finetuning all parameters and adapters of low rank.

    cargo build --release
    python benches/lora.py CORPUS --rounds 3 > benches/results/2026-11-28-zen3-2-cores/lora.txt

CORPUS is any prepared corpus with a vocabulary of at most 8,192. Llamas of 8 blocks, 256 and 512 wide, with tied
embeddings; 8 rows of 256 tokens; runs of 14 steps, in turns. A step's time is that of metrics.jsonl at the end (an
average of recent steps, without evaluations), memory the peak of the process. Prints a table of medians.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

# Hidden size, heads, intermediate size.
MODELS = [(256, 4, 688), (512, 8, 1376)]
KINDS = {
    "all parameters": "",
    "q, v (rank 8)": "[train.lora]\nrank = 8\n",
    "all linears (rank 8)": '[train.lora]\nrank = 8\ntargets = "all-linear"\n',
}
ROWS, LENGTH = 8, 256


def description(model, corpus, kind, steps):
    return f"""[model]
{model}
[mixture]
sequence_length = {LENGTH}
batch_size = {ROWS}
[[mixture.source]]
name = "target"
corpus = "{corpus}"
weight = "100%"
[train]
steps = {steps}
checkpoint_every = 1000
{KINDS[kind]}
[eval]
every_steps = 1000
sequences = 4
[[eval.corpus]]
name = "target"
corpus = "{corpus}"
"""


def run(binary, place, text, *more):
    """The command's JSON and the peak memory of the process in bytes."""
    (place / "run.toml").write_text(text)
    out = place / "run"
    shutil.rmtree(out, ignore_errors=True)
    command = [binary, "train", place / "run.toml", "--out", out, "--json", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        told, errors = process.stdout.read(), process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(errors.decode())
    return json.loads(told), usage.ru_maxrss * 1024


def measure(arguments, place, shape):
    hidden, heads, inner = shape
    fresh = f'family = "llama"\nvocab_size = 8192\nhidden_size = {hidden}\nlayers = 8\nheads = {heads}\n'
    fresh += f"intermediate_size = {inner}\nseed = 1"
    run(arguments.binary, place, description(fresh, arguments.corpus, "all parameters", 1))
    base = place / f"base-{hidden}"
    shutil.move(place / "run/best", base)
    texts = {kind: description(f'init = "{base}"', arguments.corpus, kind, 14) for kind in KINDS}
    sizes = {kind: run(arguments.binary, place, text, "--dry-run")[0] for kind, text in texts.items()}
    found = {kind: [] for kind in KINDS}
    for _ in range(arguments.rounds):
        for kind, text in texts.items():
            _, memory = run(arguments.binary, place, text)
            last = json.loads((place / "run/metrics.jsonl").read_text().splitlines()[-1])
            found[kind].append((ROWS * LENGTH / last["tokens_per_second"], memory))
    whole = statistics.median(seconds for seconds, _ in found["all parameters"])
    for kind, series in found.items():
        seconds, memory = (statistics.median(column) for column in zip(*series, strict=True))
        parameters = sizes[kind]["parameters"]
        share = 100 * sizes[kind]["trainable_parameters"] / parameters
        print(
            f"| {parameters / 1e6:.1f}M | {kind} | {share:.2f} % | {1000 * seconds:.0f} ms | {seconds / whole:.2f} "
            f"| {memory / 1e6:.0f} MB |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binary", type=Path, default=Path("target/release/mixdown"))
    arguments = parser.parse_args()
    arguments.corpus, arguments.binary = arguments.corpus.absolute(), arguments.binary.absolute()
    print("| model | trained | share of the parameters | a step | beside all | peak memory |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for shape in MODELS:
            measure(arguments, Path(place), shape)


if __name__ == "__main__":
    main()
