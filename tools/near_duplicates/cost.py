"""What the search for near-duplicates costs `prepare`: time and memory with it beside without it, in turns.

    python tools/near_duplicates/cost.py TEXTS.jsonl... --work FOLDER --mixdown BINARY --tokenizer tokenizer.json
        [--megabytes 624] [--rounds 5] [--words 0]

The input is made of random sentences of the texts, in documents of some 4 KB, so that it can be of any size without
repeating documents; with `--words 10` each document has ten random words instead, and with `--megabytes 0` the texts
themselves are the input. Prints the medians of time by the clock, of processor time and of peak memory, and the ratio
of every round.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import time
from pathlib import Path

DOCUMENT_CHARS = 4_300
SIDES = ("0.5", "off")


def sentences(paths):
    found = []
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                text = json.loads(line)["text"]
                found += [piece for piece in text.replace("\n", ". ").split(". ") if 20 <= len(piece) <= 400]
    return found


def compose(pieces, out, megabytes, words, seed=1):
    """Writes about this many megabytes of JSON lines."""
    rng = random.Random(seed)
    if words:
        pieces = sorted({word for piece in pieces for word in piece.split()})
    written = 0
    with open(out, "w", encoding="utf-8") as file:
        while written < megabytes * 1_000_000:
            if words:
                text = " ".join(rng.choices(pieces, k=words))
            else:
                chosen, chars = [], 0
                while chars < DOCUMENT_CHARS:
                    chosen.append(pieces[int(rng.random() * len(pieces))])
                    chars += len(chosen[-1]) + 2
                text = ". ".join(chosen)
            written += file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def run(arguments, inputs, side):
    """Returns seconds by the clock, seconds of processors, peak megabytes and the report of one `prepare`."""
    out = arguments.work / "corpus"
    shutil.rmtree(out, ignore_errors=True)
    command = [arguments.mixdown, "prepare", *inputs, "--out", str(out), "--tokenizer", arguments.tokenizer]
    command += ["--holdout", "1%", "--near-duplicates", side, "--quiet"]
    report = arguments.work / f"report-{side}.txt"
    with open(report, "w", encoding="utf-8") as file:
        begun = time.monotonic()
        process = os.posix_spawn(
            command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, file.fileno(), 1)]
        )
        _, status, usage = os.wait4(process, 0)
        seconds = time.monotonic() - begun
    if status != 0:
        raise SystemExit(f"{' '.join(command)}: status {status}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000, report.read_text().strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--mixdown", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--megabytes", type=float, default=624)
    parser.add_argument("--words", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    inputs = arguments.texts
    if arguments.megabytes:
        inputs = [str(arguments.work / "composed.jsonl")]
        compose(sentences(arguments.texts), inputs[0], arguments.megabytes, arguments.words)
    megabytes = sum(os.path.getsize(path) for path in inputs) / 1e6
    rounds = {side: [] for side in SIDES}
    for number in range(arguments.rounds):
        for side in SIDES if number % 2 == 0 else SIDES[::-1]:
            rounds[side].append(run(arguments, inputs, side))
    print(f"{megabytes:,.0f} MB, medians of {arguments.rounds} rounds in turns")
    for side in SIDES:
        clock, processors, peak = (statistics.median(column) for column in list(zip(*rounds[side]))[:3])
        print(f"  {side}: {clock:.2f} s, of processors {processors:.2f} s, peak {peak:.0f} MB: {rounds[side][-1][3]}")
    for place, name in enumerate(["clock", "processors"]):
        ratios = [on[place] / off[place] for on, off in zip(*(rounds[side] for side in SIDES))]
        print(f"  ratio by {name}: {statistics.median(ratios):.3f} of {[round(ratio, 3) for ratio in ratios]}")


if __name__ == "__main__":
    main()
