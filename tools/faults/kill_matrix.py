"""Kills every command that writes, at every system call that changes the disk and at random moments.

usage: tools/faults/kill_matrix.py [--binary target/release/mixdown] [--rounds N] [--seed N] [--only WORDS]
                                   [--folder FOLDER]

A round is one command on its way from its inputs to its result (writers.py has the commands). SIGKILL comes in the
place of the first, second, ... last call that changes the disk (every one, with --rounds 0; else at most N of them,
spread evenly), and then at N random moments. The command is given again, one time in three killed again, once or
twice, until it gets through. Then
  - its result is that of an undisturbed run, byte for byte (writers.py says what tells the clock), and nothing else
    is there: no temporary files, no scratch folders;
  - the command given once more says "already done", exits with 0 and changes nothing; commands that make a page or
    a fit write the same bytes again.
"prepare of many parts" is of some megabytes instead: killed at random moments with up to three threads, and as four
tasks at once that are killed in any order, then one task more and --finish.

Prints a line a command: calls, kills at calls, kills at random moments, second kills, and what was wrong. Exit code 1
if anything was.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import sandbox
from writers import DONE, Trial, Writer, differences, options, prepare_large, tree, writers

# Starts of the killed command until it must have got through.
MOST_STARTS = 5
# Faults of a command that are told in words.
TOLD = 5


class Matrix(Trial):
    def command(self, writer: Writer) -> None:
        shop = self.shop
        expected, seconds = shop.undisturbed(writer)
        shop.reset(writer)
        whole = self.traced(writer, None, keep_calls=True)
        if wrong := differences(expected, tree(shop.here), "--processes" in writer.command):
            self.fail(writer, "never killed", "; ".join(wrong))
        calls = len(whole.calls)
        before = Counter(self.counts)
        begin = time.monotonic()
        chosen = range(1, calls + 1)
        if self.rounds and calls > self.rounds:
            chosen = sorted(self.rng.sample(chosen, self.rounds))
        for at in chosen:
            shop.reset(writer)
            killed = self.traced(writer, sandbox.Fault(at, kill=True))
            where = f"at call {at} of {calls}"
            if killed.hit:
                self.counts["call"] += 1
                where += f" ({killed.calls[-1][0]} {os.path.relpath(killed.calls[-1][1], shop.base)})"
            self.go_on(writer, where, expected, calls, seconds)
        for number in range(self.rounds or max(10, calls // 5)):
            if number % 8 == 0:
                # Of a machine that others use as well.
                seconds = shop.undisturbed(writer)[1]
            shop.reset(writer)
            after = self.rng.uniform(0, seconds)
            self.counts["moment"] += self.killed_after(writer, after)
            self.go_on(writer, f"after {after:.3f} s", expected, calls, seconds)
        counts = {name: self.counts[name] - before[name] for name in ("call", "moment", "again")}
        print(
            f"{writer.name}: {calls} calls, killed at calls {counts['call']}, at random moments {counts['moment']}, "
            f"on the way again {counts['again']} ({time.monotonic() - begin:.0f} s)",
            flush=True,
        )

    def many_parts(self) -> None:
        """`prepare` of some megabytes, alone and as four tasks at once."""
        shop, before, begin = self.shop, Counter(self.counts), time.monotonic()
        shop.make_large_inputs(self.rng)
        writers = [
            Writer(f"prepare of many parts{' ' + more[0] if more else ''}", prepare_large(*more))
            for more in ([], ["--no-shuffle"])
        ]
        results = [shop.undisturbed(writer) for writer in writers]
        for number in range(self.rounds or 20):
            (writer, (expected, seconds)) = list(zip(writers, results))[number % 2]
            threads = Writer(writer.name, [*writer.command, "--threads", str(self.rng.randint(1, 3))])
            shop.reset(writer)
            for _ in range(self.rng.randint(1, 6)):
                self.counts["moment"] += self.killed_after(threads, self.rng.uniform(0, seconds))
            self.go_on(threads, f"round {number}", expected, 1, seconds)
        writer, (expected, seconds) = writers[0], results[0]
        for number in range(self.rounds or 20):
            shop.reset(writer)
            tasks = [[*writer.command, "--task", f"{n}/4", "--threads", "1"] for n in range(4)]
            for _ in range(self.rng.randint(1, 4)):
                running = [self.start(writer, task) for task in tasks]
                self.rng.shuffle(running)
                for process in running:
                    self.counts["moment"] += self.kill_after(process, self.rng.uniform(0, seconds / 2))
            shop.must(*tasks[self.rng.randrange(4)])
            self.go_on(Writer(writer.name, [*writer.command, "--finish"]), f"tasks {number}", expected, 1, seconds)
        moments, again = (self.counts[name] - before[name] for name in ("moment", "again"))
        words = f"at random moments {moments}, on the way again {again} ({time.monotonic() - begin:.0f} s)"
        print(f"prepare of many parts: killed {words}", flush=True)

    def traced(self, writer: Writer, fault: sandbox.Fault | None, keep_calls: bool = False) -> sandbox.Outcome:
        shop = self.shop
        environment = shop.environment_of(writer)
        return sandbox.run(
            shop.argv(writer.command), str(shop.base), fault, environment, str(shop.here), keep_calls=keep_calls
        )

    def start(self, writer: Writer, command: list[str]) -> subprocess.Popen:
        shop = self.shop
        return subprocess.Popen(
            shop.argv(command),
            cwd=shop.here,
            env=shop.environment_of(writer),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def kill_after(self, process: subprocess.Popen, seconds: float) -> bool:
        """Whether the process was killed before it was done."""
        try:
            process.wait(timeout=seconds)
            return False
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True

    def killed_after(self, writer: Writer, seconds: float) -> bool:
        return self.kill_after(self.start(writer, writer.command), seconds)

    def go_on(self, writer: Writer, where: str, expected: dict, calls: int, seconds: float) -> None:
        """Gives the command again until it gets through, and looks at what it leaves."""
        shop = self.shop
        while self.rng.random() < 1 / 3 and where.count(", again") < MOST_STARTS:
            if self.rng.random() < 0.5:
                at = self.rng.randint(1, calls)
                killed = self.traced(writer, sandbox.Fault(at, kill=True)).hit
                where += f", again at call {at}"
            else:
                after = self.rng.uniform(0, seconds)
                killed = self.killed_after(writer, after)
                where += f", again after {after:.3f} s"
            self.counts["again"] += killed
        try:
            done = shop.call(*writer.command)
        except subprocess.TimeoutExpired:
            return self.fail(writer, f"killed {where}", "the same command did not end in 60 s")
        if done.returncode != 0:
            return self.fail(
                writer, f"killed {where}", f"the same command: exit code {done.returncode}: {done.stderr.strip()}"
            )
        if wrong := differences(expected, tree(shop.here), "--processes" in writer.command):
            return self.fail(writer, f"killed {where}", "; ".join(wrong))
        stamps = self.stamps() if writer.says_done else {}
        again = shop.call(*writer.command)
        if again.returncode != 0:
            self.fail(
                writer, f"killed {where}", f"done and given again: exit code {again.returncode}: {again.stderr.strip()}"
            )
        elif writer.says_done and DONE not in again.stdout + again.stderr:
            self.fail(
                writer, f"killed {where}", f"done and given again: no {DONE!r} in {again.stdout + again.stderr!r}"
            )
        elif wrong := differences(expected, tree(shop.here), "--processes" in writer.command):
            self.fail(writer, f"killed {where}", f"done and given again: {'; '.join(wrong)}")
        elif writer.says_done and stamps != self.stamps():
            changed = sorted(name for name, _ in set(stamps.items()) ^ set(self.stamps().items()))
            self.fail(writer, f"killed {where}", f"done and given again: written again: {', '.join(changed)}")

    def stamps(self) -> dict[str, tuple[int, int]]:
        """When each file was written, and which file it is. Locks are empty, and opened again."""
        files = (path for path in self.shop.here.rglob("*") if path.is_file() and path.stat().st_size > 0)
        return {str(path.relative_to(self.shop.here)): (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


def main() -> None:
    arguments = options(__doc__, "calls and moments a command; 0: every call")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as base:
        matrix = Matrix(arguments, Path(base))
        for writer in writers():
            if not arguments.only or arguments.only in writer.name:
                matrix.command(writer)
        if not arguments.only or arguments.only in "prepare of many parts":
            matrix.many_parts()
    kills = matrix.counts
    print(
        f"kills {sum(kills.values())}: at calls {kills['call']}, at random moments {kills['moment']}, on the way "
        f"again {kills['again']}; wrong {len(matrix.wrong)}"
    )
    sys.exit(1 if matrix.wrong else 0)


if __name__ == "__main__":
    main()
