"""Runs every command that writes in several processes at once on the same output.

usage: tools/faults/together.py [--binary target/release/mixdown] [--rounds N] [--seed N] [--only WORDS]
                                [--folder FOLDER]

Two kinds of rounds of each command (writers.py):
  in turn   one process is halted at a system call that changes the disk, a second one does the whole command, then
            the first goes on: at each such call in turn (with --rounds N at N of them)
  at once   two and four processes are started together, or within the time that one takes, N times each; in half of
            these rounds one of them is killed on its way
Each process ends within a minute, with the undisturbed result or with an error that tells of another process. Then,
or when the command was given once more where one was killed or all of them were refused, the result is that of an
undisturbed run, byte for byte, and nothing else is there.
Prints a line a command: processes that did it, that were told of another one, that were killed. Exit code 1 if
anything was wrong.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import sandbox
from writers import Trial, Writer, differences, options, tree, writers

# How a message tells of another process.
OTHERS = ("another process", "another call", "another run", "other process")
LIMIT_SECONDS = 60


class Together(Trial):
    def command(self, writer: Writer) -> None:
        shop, before, begin = self.shop, Counter(self.counts), time.monotonic()
        expected, seconds = shop.undisturbed(writer)
        shop.reset(writer)
        calls = len(self.traced(writer, None).calls)
        chosen = range(1, calls + 1)
        if self.rounds and calls > self.rounds:
            chosen = sorted(self.rng.sample(chosen, self.rounds))
        for at in chosen:
            self.in_turn(writer, at, calls, expected)
        for number in range(self.rounds or 10):
            for several in (2, 4):
                self.at_once(writer, several, number, seconds, expected)
        told = ", ".join(f"{name} {count - before[name]}" for name, count in self.counts.items())
        print(f"{writer.name}: {calls} calls: {told} ({time.monotonic() - begin:.0f} s)", flush=True)

    def traced(self, writer: Writer, fault: sandbox.Fault | None) -> sandbox.Outcome:
        shop = self.shop
        environment = shop.environment_of(writer)
        return sandbox.run(
            shop.argv(writer.command), str(shop.base), fault, environment, str(shop.here), keep_calls=fault is None
        )

    def in_turn(self, writer: Writer, at: int, calls: int, expected: dict) -> None:
        shop = self.shop
        shop.reset(writer)
        second: list[tuple[int, str]] = []

        def whole() -> None:
            try:
                done = shop.call(*writer.command, timeout=LIMIT_SECONDS / 2)
                second.append((done.returncode, done.stderr))
            except subprocess.TimeoutExpired:
                second.append((0, "did not end"))

        first = self.traced(writer, sandbox.Fault(at, meanwhile=whole))
        where = f"halted at call {at} of {calls}"
        if first.hit:
            where += f" ({first.calls[-1][0]} {os.path.relpath(first.calls[-1][1], shop.here)})"
        if first.timed_out or ("did not end" in dict(second).values()):
            return self.fail(writer, where, "a process did not end")
        ends = [(first.returncode, first.stderr), *second]
        self.judge(writer, where, ends, expected, killed=False)

    def at_once(self, writer: Writer, several: int, number: int, seconds: float, expected: dict) -> None:
        shop = self.shop
        shop.reset(writer)
        apart = 0 if number % 2 else seconds
        killed = number % 4 >= 2
        where = f"{several} at once, round {number}"
        with tempfile.TemporaryDirectory() as told:
            running = []
            for n in range(several):
                time.sleep(self.rng.uniform(0, apart / several))
                running.append(self.start(writer, Path(told) / str(n)))
            if killed:
                time.sleep(self.rng.uniform(0, seconds))
                running[0].kill()
            ends = []
            for n, process in enumerate(running):
                try:
                    code = process.wait(timeout=LIMIT_SECONDS)
                except subprocess.TimeoutExpired:
                    for other in running:
                        other.kill()
                        other.wait()
                    return self.fail(writer, where, "a process did not end in a minute")
                if code != -9:
                    ends.append((code, (Path(told) / str(n)).read_text()))
                else:
                    self.counts["killed"] += 1
        self.judge(writer, where, ends, expected, killed)

    def start(self, writer: Writer, told: Path) -> subprocess.Popen:
        shop = self.shop
        with open(told, "w") as words:
            return subprocess.Popen(
                shop.argv(writer.command),
                cwd=shop.here,
                env=shop.environment_of(writer),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
            )

    def judge(self, writer: Writer, where: str, ends: list[tuple[int, str]], expected: dict, killed: bool) -> None:
        """Looks at how each process ended, and at what is there then."""
        done = 0
        for code, words in ends:
            if code == 0:
                done += 1
            elif any(other in words for other in OTHERS):
                self.counts["told of another"] += 1
            else:
                self.fail(writer, where, f"exit code {code}: {words.strip()}")
        self.counts["done"] += done
        if killed or not done:
            again = self.shop.call(*writer.command)
            if again.returncode != 0:
                return self.fail(writer, where, f"given again: exit code {again.returncode}: {again.stderr.strip()}")
        if wrong := differences(expected, tree(self.shop.here)):
            self.fail(writer, where, f"{done} of {len(ends)} done: {'; '.join(wrong)}")


def main() -> None:
    arguments = options(__doc__, "calls to halt at, and rounds at once; 0: all, and 10")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as base:
        together = Together(arguments, Path(base))
        for writer in writers():
            if not arguments.only or arguments.only in writer.name:
                together.command(writer)
    told = ", ".join(f"{name} {count}" for name, count in together.counts.items())
    print(f"{told}; wrong {len(together.wrong)}")
    sys.exit(1 if together.wrong else 0)


if __name__ == "__main__":
    main()
