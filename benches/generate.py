"""Speed of greedy generation of mixdown beside transformers on the CPU, in interleaved rounds.

    python benches/train_models.py MODELS
    cargo build --release -p mixdown-benches --example generate_speed
    python benches/generate.py MODELS --rounds 5 --out benches/results/2026-11-28-zen3-2-cores/generate.jsonl

Each round runs each model with both, one process at a time, the first in turn. Both read the same weights (f32) and
the same prompt of 16 ids and add 256 ids; the ids are compared. Prints a table of medians. Needs torch and
transformers.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from train import HERE, measure

MODELS = ["llama-11m", "llama-34m", "gpt2-124m"]


def run(arguments):
    reports = []
    for round_number in range(arguments.rounds):
        for model in MODELS:
            shape = [str(arguments.models / model), "--prompt", "16", "--tokens", str(arguments.tokens)]
            turns = [
                ("mixdown", [str(arguments.binary), *shape]),
                ("transformers", [sys.executable, str(HERE / "generate_torch.py"), *shape]),
            ]
            first = round_number % len(turns)
            for name, command in turns[first:] + turns[:first]:
                report = measure(command)
                report.update(name=name, model=model, round=round_number)
                reports.append(report)
                print(
                    f"round {round_number} {model} {name}: {report['tokens_per_second']:.1f} tokens/s, "
                    f"prompt {report['prompt_milliseconds']:.1f} ms, {report['peak_rss_mb']} MB, "
                    f"others {report['others_cores']} cores",
                    file=sys.stderr,
                    flush=True,
                )
    return reports


def table(reports):
    print("| model | | tokens/s | ratio | prompt of 16, ms | peak MB | first ids alike |")
    print("|---|---|---|---|---|---|---|")
    for model in MODELS:
        by_name = {}
        for report in reports:
            if report["model"] == model:
                by_name.setdefault(report["name"], []).append(report)
        rates = {n: statistics.median(r["tokens_per_second"] for r in rs) for n, rs in by_name.items()}
        for name, mine in by_name.items():
            pairs = zip(by_name["mixdown"][0]["ids"], mine[0]["ids"], strict=True)
            alike = next((place for place, (a, b) in enumerate(pairs) if a != b), len(mine[0]["ids"]))
            prompt = statistics.median(r["prompt_milliseconds"] for r in mine)
            memory = statistics.median(r["peak_rss_mb"] for r in mine)
            print(
                f"| {model} | {name} | {rates[name]:.1f} | {rates['mixdown'] / rates[name]:.2f} | {prompt:.1f} | "
                f"{memory:.0f} | {alike} |"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, help="the folder that train_models.py made")
    parser.add_argument("--binary", type=Path, default=HERE.parent / "target/release/examples/generate_speed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--out", type=Path, help="write every report as a line of JSON")
    arguments = parser.parse_args()
    reports = run(arguments)
    if arguments.out:
        arguments.out.write_text("".join(json.dumps(report) + "\n" for report in reports))
    table(reports)


if __name__ == "__main__":
    main()
