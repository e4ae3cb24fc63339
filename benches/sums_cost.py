"""What the BLAKE3 sums of a checkpoint of some 500 MB cost where it is read and where it is written.

    cargo build --release
    python benches/sums_cost.py --rounds 9 > benches/results/DATE-MACHINE/sums-cost.txt

A Llama of 41 million parameters (8 blocks, 640 wide) is trained for one step. Timed, in turns, whole processes:
  going on     the run once more without its summary: reads the checkpoint, writes it again, trains nothing
  generate     one token by best/
each with the sums and with them taken out of a copy of the folder, as older versions left it: what is read is then
not checked, what is written still has sums. And
  verify       the sums of the checkpoint alone, and those of a folder of one byte, which is the process itself
The difference of those two is what the sums cost where a checkpoint is written: the same function sums the same files,
which the page cache has in both cases. Folders are in the place that TMPDIR names. Prints the sizes, all times (by the
clock, and of all processors, which other work on the machine changes less) and the medians.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

WORDS = "the of and to in is that for it as was with be by on not he his but at are this have from".split()


def timed(command, folder):
    """Seconds by the clock and of processors."""
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - started, os.times()
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    processors = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, processors


def without_sums(run):
    """As older versions left a run."""
    for sums in run.rglob("BLAKE3SUMS"):
        sums.unlink()
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text("".join(line for line in text.splitlines(True) if not line.startswith("#")))


def megabytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/mixdown", type=Path)
    parser.add_argument("--rounds", default=9, type=int)
    parser.add_argument("--hidden-size", default=640, type=int)
    arguments = parser.parse_args()
    binary = arguments.binary.resolve()
    place = Path(tempfile.mkdtemp(prefix="sums-"))
    try:
        rng = random.Random(1)
        lines = (json.dumps({"text": " ".join(rng.choices(WORDS, k=20))}) for _ in range(200))
        (place / "text.jsonl").write_text("\n".join(lines))
        tokenizer = "tokenizer train text.jsonl --vocab-size 300 --out tokenizer.json"
        timed([binary, *tokenizer.split()], place)
        timed([binary, *"prepare text.jsonl --tokenizer tokenizer.json --out c --holdout 10%".split()], place)
        width = f"--hidden-size {arguments.hidden_size} --layers 8 --heads 10"
        train = f"train --pretraining c {width} --sequence-length 8 --batch-size 1 --steps 1 --eval-sequences 1 --out"
        timed([binary, *train.split(), "with"], place)
        shutil.copytree(place / "with", place / "without")
        without_sums(place / "without")
        (place / "byte").mkdir()
        (place / "byte/config.json").write_text(" ")
        step = place / "with/checkpoints/step-1"
        best = megabytes(place / "with/best")
        print(f"checkpoint {megabytes(step):.0f} MB, best/ {best:.0f} MB; {os.cpu_count()} cores")
        verify = {"verify": "verify with/checkpoints/step-1", "verify a byte": "verify byte"}
        if subprocess.run([binary, *verify["verify"].split()], cwd=place, capture_output=True, check=False).returncode:
            verify = {}
        times = {}
        for number in range(arguments.rounds):
            kinds = ["with", "without"]
            for kind in kinds if number % 2 == 0 else reversed(kinds):
                (place / kind / "summary.json").unlink()
                times.setdefault(f"going on {kind}", []).append(timed([binary, *train.split(), kind], place))
                if kind == "without":
                    without_sums(place / kind)
                generate = f"generate {kind}/best --prompt the --max-tokens 1 --temperature 0"
                times.setdefault(f"generate {kind}", []).append(timed([binary, *generate.split()], place))
            for name, command in verify.items():
                times.setdefault(name, []).append(timed([binary, *command.split()], place))
        for name, pairs in sorted(times.items()):
            for what, series in zip(("clock", "processors"), zip(*pairs)):
                all_seconds = " ".join(f"{seconds:.3f}" for seconds in series)
                middle, least = statistics.median(series), min(series)
                print(f"{name:18} {what:10} median {middle:.3f} s, least {least:.3f} s: {all_seconds}")
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
