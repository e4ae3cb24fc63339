#!/usr/bin/env python3
"""Kills `mixdown prepare` at random moments and compares what it ends with to an undisturbed run.

usage: tools/kill_prepare.py [--binary target/release/mixdown] [--rounds 20] [--seed 1] [--megabytes 24]

Four kinds of rounds, each ending in a comparison of every byte:
  kill     one process, killed (SIGKILL) after a random time, started again until it gets through
  tasks    four processes at once with --task, killed and started again in any order, then --finish
  full     the output on a small tmpfs that runs full, then grown (root only)
  limit    a limit on the size of files (RLIMIT_FSIZE) that fails writes as a quota does, then lifted
Prints the number of kills, of failures for want of space, and of differing files. Exit code 1 if
anything differs.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = "the of and to in is that for it as was with be by on not he his but at are this have".split()


def write_inputs(folder: Path, megabytes: int, rng: random.Random) -> list[str]:
    """Plain, zstd and gzip JSON lines and a folder of texts."""
    folder.mkdir()

    def line(number: int) -> bytes:
        text = " ".join(rng.choices(WORDS, k=rng.randint(0, 400))) + f" {number}"
        return (json.dumps({"text": text, "id": f"doc-{number}"}) + "\n").encode()

    number = 0
    for name, share in (("a.jsonl", 0.4), ("b.jsonl", 0.3), ("c.jsonl", 0.2)):
        with open(folder / name, "wb") as file:
            while file.tell() < megabytes * 1e6 * share:
                file.write(line(number))
                number += 1
    subprocess.run(["gzip", "-1", "-n", folder / "b.jsonl"], check=True)
    if shutil.which("zstd"):
        subprocess.run(["zstd", "-1", "-q", "--rm", folder / "c.jsonl"], check=True)
    texts = folder / "texts"
    texts.mkdir()
    for n in range(200):
        (texts / f"{n}.txt").write_text(" ".join(rng.choices(WORDS, k=2000)))
    return [str(path) for path in sorted(folder.iterdir())]


def tree(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


class Rounds:
    def __init__(self, arguments, base: Path):
        self.rng = random.Random(arguments.seed)
        self.base, self.binary = base, os.path.abspath(arguments.binary)
        self.inputs = write_inputs(base / "inputs", arguments.megabytes, self.rng)
        self.kills = self.full = self.differences = self.rounds = 0
        self.tokenizer = str(base / "tokenizer.json")
        train = [self.binary, "tokenizer", "train", str(base / "inputs/texts"), "--vocab-size", "400"]
        subprocess.run([*train, "--out", self.tokenizer], check=True, capture_output=True)
        start = time.monotonic()
        self.options = ["--id-field", "id", "--holdout", "2%"]
        self.run(base / "whole")
        self.seconds = time.monotonic() - start
        self.expected = tree(base / "whole")
        self.run(base / "kept", "--no-shuffle")
        self.expected_kept = tree(base / "kept")

    def command(self, out: Path, *more: str) -> list[str]:
        command = [self.binary, "prepare", *self.inputs, "--tokenizer", self.tokenizer]
        return [*command, "--out", str(out), *self.options, *more]

    def run(self, out: Path, *more: str) -> None:
        subprocess.run(self.command(out, *more), check=True, capture_output=True)

    def start(self, out: Path, *more: str) -> subprocess.Popen:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen(self.command(out, *more), **quiet)

    def expected_of(self, more: list[str]) -> dict[str, str]:
        return self.expected_kept if "--no-shuffle" in more else self.expected

    def compare(self, out: Path, expected: dict[str, str]) -> None:
        found = tree(out)
        names = sorted(set(found) | set(expected))
        wrong = [name for name in names if found.get(name) != expected.get(name)]
        for name in wrong:
            print(f"  differs: {out.name}/{name}")
        self.differences += len(wrong)
        self.rounds += 1
        shutil.rmtree(out)

    def kill_after(self, process: subprocess.Popen, seconds: float) -> bool:
        """Whether it was killed before it was done."""
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self.kills += 1
            return True
        if process.returncode != 0:
            sys.exit(f"failed: {process.stderr.read().decode()}")
        return False

    def kill(self, number: int) -> None:
        out = self.base / f"kill-{number}"
        more = ["--no-shuffle"] if number % 3 == 2 else []
        if number % 2:
            more += ["--work-dir", str(self.base / "scratch")]
        more += ["--threads", str(self.rng.randint(1, 3))]
        for _ in range(self.rng.randint(1, 8)):
            killed = self.kill_after(self.start(out, *more), self.rng.uniform(0, self.seconds))
            if not killed or (out / "manifest.json").exists():
                break
        if not (out / "manifest.json").exists():
            self.run(out, *more)
        elif (out / ".work").exists():
            # Killed between the manifest and the end: the next call says that it is a corpus already
            # and tidies up.
            again = subprocess.run(self.command(out, *more), capture_output=True)
            assert again.returncode == 2 and b"already a corpus" in again.stderr, again.stderr
        scratch = self.base / "scratch"
        if scratch.exists() and any(scratch.iterdir()):
            print(f"  left over: {[path.name for path in scratch.iterdir()]}")
            self.differences += 1
            shutil.rmtree(scratch)
        self.compare(out, self.expected_of(more))

    def tasks(self, number: int) -> None:
        out = self.base / f"tasks-{number}"
        for _ in range(self.rng.randint(1, 4)):
            running = [self.start(out, "--task", f"{n}/4", "--threads", "1") for n in range(4)]
            self.rng.shuffle(running)
            for process in running:
                self.kill_after(process, self.rng.uniform(0, self.seconds / 2))
        self.run(out, "--task", f"{self.rng.randrange(4)}/4")
        for _ in range(2):
            self.run(out, "--finish")
        self.compare(out, self.expected)

    def until_it_fits(self, number: int, out: Path, more: list[str], grow) -> None:
        """Runs out of space, is given more, and goes on."""
        for _ in range(40):
            process = self.start(out, *more)
            words = process.communicate()[1].decode()
            if process.returncode == 0:
                return self.compare(out, self.expected_of(more))
            if "No space left" not in words and "Disk quota exceeded" not in words and "too little room" not in words:
                sys.exit(f"failed otherwise: {words}")
            self.full += 1
            grow()
        sys.exit("never got through")

    def full_disk(self, number: int) -> None:
        mount = self.base / "small"
        mount.mkdir(exist_ok=True)
        size = self.rng.randint(1, 8)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", mount], check=True)
        try:
            def grow():
                nonlocal size
                size += self.rng.randint(2, 9)
                subprocess.run(["mount", "-o", f"remount,size={size}m", mount], check=True)

            self.until_it_fits(number, mount / "out", self.order(number), grow)
        finally:
            subprocess.run(["umount", mount], check=True)

    def limit(self, number: int) -> None:
        out = self.base / f"limit-{number}"
        limit = self.rng.randint(20, 2000) * 1024
        more = self.order(number)
        command = ["prlimit", f"--fsize={limit}", "env", "--ignore-signal=XFSZ", *self.command(out, *more)]
        process = subprocess.run(command, capture_output=True)
        if process.returncode == 0:
            return self.compare(out, self.expected_of(more))
        if b"File too large" not in process.stderr:
            sys.exit(f"failed otherwise: {process.stderr.decode()}")
        self.full += 1
        self.run(out, *more)
        self.compare(out, self.expected_of(more))

    def order(self, number: int) -> list[str]:
        return ["--no-shuffle"] if number % 8 == 0 else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--binary", default="target/release/mixdown")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--megabytes", type=int, default=24)
    parser.add_argument("--folder", help="where to work; a temporary folder if not given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as base:
        rounds = Rounds(arguments, Path(base))
        print(f"undisturbed: {rounds.seconds:.2f} s, {len(rounds.expected)} files")
        for number in range(arguments.rounds):
            rounds.kill(number)
            rounds.tasks(number)
            if number % 4 == 0:
                rounds.limit(number)
                if os.geteuid() == 0:
                    rounds.full_disk(number)
        print(
            f"rounds {rounds.rounds}, kills {rounds.kills}, failed for want of space {rounds.full}, "
            f"differing files {rounds.differences}"
        )
        sys.exit(1 if rounds.differences else 0)


if __name__ == "__main__":
    main()
