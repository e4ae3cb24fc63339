"""Training speed and memory of mixdown beside PyTorch on the CPU, in interleaved rounds.

    python benches/train_models.py MODELS
    cargo build --release -p mixdown-benches --example train_speed
    python benches/train.py MODELS --rounds 5 --out benches/results/2026-11-24-zen4-2-cores/train.jsonl

Each round trains each model a few steps with mixdown and with PyTorch, one after the other, each a
process of its own: the same weights, tokens, optimizer, clipping and number of threads. Both of
PyTorch's implementations run (a plain nn.Module and transformers'), and the faster counts. In the
timing: forward and backward pass, clipping, AdamW; not in it: starting, loading, tokens, warm-up.

Prints a table: the median over all timed steps of all rounds, the ratio of the medians, peak resident
memory (the process's, libraries included), and how far the losses of the steps are apart. Also said:
CPU time that others took while a process ran, in cores; a round in which they took a tenth of a core
is not counted unless --noisy is given. Who is first changes from round to round: where a virtual machine
gives idle memory back to its host, the first process pays for getting it again (3 of 20 CPU seconds). Needs torch, safetensors and transformers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SHAPES = [("llama-11m", 8, 256), ("llama-11m", 4, 512), ("llama-34m", 8, 256), ("gpt2-124m", 4, 512)]


def busy_seconds():
    """CPU seconds of all processes since the start of the machine; stolen ones are nobody's."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system = (int(field) for field in fields[:3])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def measure(command):
    """The report of a command, with the cores that others took meanwhile."""
    busy, start = busy_seconds(), time.perf_counter()
    before = os.times()
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    after, seconds = os.times(), time.perf_counter() - start
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {result.stderr}")
    own = (after.children_user + after.children_system) - (before.children_user + before.children_system)
    report = json.loads(result.stdout.splitlines()[-1])
    report["others_cores"] = round(max(0.0, busy_seconds() - busy - own) / seconds, 3)
    return report


def commands(arguments, model, rows, length):
    steps = arguments.steps if "124m" not in model else max(2, arguments.steps // 2)
    shape = ["--rows", str(rows), "--length", str(length), "--steps", str(steps), "--warmup", "2"]
    folder = str(arguments.models / model)
    torch = [sys.executable, str(HERE / "train_torch.py"), folder, *shape]
    yield "mixdown", [str(arguments.binary), folder, *shape]
    yield "plain", torch
    yield "transformers", [*torch, "--implementation", "transformers"]
    if arguments.compile:
        yield "compile", [*torch, "--mode", "compile"]


def run(arguments):
    reports = []
    for round_number in range(arguments.rounds):
        for model, rows, length in SHAPES:
            if arguments.only and arguments.only not in f"{model}-{rows}x{length}":
                continue
            turns = list(commands(arguments, model, rows, length))
            first = round_number % len(turns)
            for name, command in turns[first:] + turns[:first]:
                report = measure(command)
                report.update(name=name, model=model, round=round_number)
                report.setdefault("threads", os.cpu_count())
                reports.append(report)
                median = statistics.median(report["milliseconds"])
                print(
                    f"round {round_number} {model} {rows}x{length} {name}: {median:.0f} ms, "
                    f"{report['peak_rss_mb']} MB, others {report['others_cores']} cores",
                    file=sys.stderr,
                    flush=True,
                )
    return reports


def table(reports, noisy):
    print("| model | rows × length | | ms a step | tokens/s | ratio | peak MB | ratio | losses differ |")
    print("|---|---|---|---|---|---|---|---|---|")
    quiet = [report for report in reports if noisy or report["others_cores"] < 0.1]
    for model, rows, length in SHAPES:
        mine = [r for r in quiet if (r["model"], r["rows"], r["length"]) == (model, rows, length)]
        by_name = {}
        for report in mine:
            by_name.setdefault(report["name"], []).append(report)
        if "mixdown" not in by_name:
            continue
        times = {n: statistics.median(t for r in rs for t in r["milliseconds"]) for n, rs in by_name.items()}
        memory = {n: statistics.median(r["peak_rss_mb"] for r in rs) for n, rs in by_name.items()}
        losses = by_name["mixdown"][0]["losses"][:3]
        for name, ms in times.items():
            apart = max(abs(a - b) for a, b in zip(losses, by_name[name][0]["losses"][:3], strict=True))
            print(
                f"| {model} | {rows} × {length} | {name} | {ms:.0f} | {rows * length / ms * 1e3:.0f} | "
                f"{ms / times['mixdown']:.2f} | {memory[name]:.0f} | "
                f"{memory['mixdown'] / memory[name]:.2f} | {apart:.1e} |"
            )
        share = statistics.median(r["optimizer_share"] for r in by_name["mixdown"])
        print(f"| | | optimizer's share | {share * 100:.1f} % | | | | | |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, help="the folder that train_models.py made")
    parser.add_argument("--binary", type=Path, default=HERE.parent / "target/release/examples/train_speed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="timed steps of a process")
    parser.add_argument("--only", help="the shapes whose name (MODEL-ROWSxLENGTH) has this in it")
    parser.add_argument("--compile", action="store_true", help="torch.compile too")
    parser.add_argument("--noisy", action="store_true", help="count rounds disturbed by others")
    parser.add_argument("--out", type=Path, help="write every report as a line of JSON")
    arguments = parser.parse_args()
    reports = run(arguments)
    if arguments.out:
        arguments.out.write_text("".join(json.dumps(report) + "\n" for report in reports))
    table(reports, arguments.noisy)


if __name__ == "__main__":
    main()
