"""Refuses every command that writes its system calls, one after the other: a full disk, no permission, a broken disk.

usage: tools/faults/full_disk.py [--binary target/release/mixdown] [--rounds N] [--seed N] [--only WORDS]
                                 [--folder FOLDER]

Each call of a command (writers.py) that changes the disk is refused once in each of these ways, as far as a system
refuses such a call so (with --rounds N at most N calls a way, spread evenly):
  ENOSPC       once: that one call fails
  ENOSPC+      the call fails and all that need room after it; half of a write is still done
  EDQUOT       once, as a quota does
  EACCES       once
  EIO          once, as a broken disk does
Then, as root, on a real tmpfs that is too small and grows until the command gets through; and with a limit on the
size of files (RLIMIT_FSIZE), which fails in the middle of a file.

Of each call to the command it is checked that
  - it ends with an exit code other than 0 and no panic, and its message names the file or folder that was refused and
    the system's reason; or with 0 and the undisturbed result (a removal or a flush that may fail);
  - it leaves no temporary file, and of the files that make a result whole (manifest.json, summary.json, a page, ...)
    none that is not the undisturbed one;
  - the same command afterwards gives the undisturbed bytes.
Prints a line a command with counts. Exit code 1 if anything was wrong.
"""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import sandbox
from writers import Trial, Writer, differences, empty, options, tree, writers

CREATES = {"open", "openat", "creat", "mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat"}
WRITES = {"write", "pwrite64", "writev", "pwritev", "sendfile", "copy_file_range", "ftruncate", "fallocate"}
RENAMES = {"rename", "renameat", "renameat2"}
FLUSHES = {"fsync", "fdatasync", "sync_file_range"}
REMOVES = {"unlink", "unlinkat", "rmdir"}
# The calls that each kind of refusal meets.
KINDS: dict[str, tuple[int, bool, set[str]]] = {
    "ENOSPC": (errno.ENOSPC, False, CREATES | WRITES | RENAMES | FLUSHES),
    "ENOSPC+": (errno.ENOSPC, True, CREATES | WRITES),
    "EDQUOT": (errno.EDQUOT, False, CREATES | WRITES),
    "EACCES": (errno.EACCES, False, CREATES | RENAMES | REMOVES),
    "EIO": (errno.EIO, False, WRITES | FLUSHES | RENAMES),
}
# What makes a result whole, so that its readers take it.
MARKS = {
    "manifest.json", "summary.json", "losses.json", "fit.json", "mix.toml", "report.html", "fit.html", "config.json",
    ".mixdown-export", "tokenizer.json", "mixdown.1", "mixdown-fit.1",
}  # fmt: skip


class FullDisk(Trial):
    def command(self, writer: Writer) -> None:
        shop, before, begin = self.shop, Counter(self.counts), time.monotonic()
        expected, _ = shop.undisturbed(writer)
        shop.reset(writer)
        calls = self.traced(writer, None).calls
        for kind, (number, stays, meets) in KINDS.items():
            at = [index for index, (name, _) in enumerate(calls, 1) if name in meets]
            if self.rounds and len(at) > self.rounds:
                at = sorted(self.rng.sample(at, self.rounds))
            for index in at:
                half = stays and calls[index - 1][0] == "write" and self.rng.random() < 0.5
                fault = sandbox.Fault(index, error=number, stays=stays, half=half)
                self.refused(writer, kind, fault, expected)
        self.limits(writer, expected)
        if os.geteuid() == 0:
            self.small_disk(writer, expected)
        counts = {name: count - before[name] for name, count in self.counts.items() if count > before[name]}
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        print(f"{writer.name}: {len(calls)} calls: {told} ({time.monotonic() - begin:.0f} s)", flush=True)

    def traced(self, writer: Writer, fault: sandbox.Fault | None) -> sandbox.Outcome:
        shop = self.shop
        environment = shop.environment_of(writer)
        return sandbox.run(
            shop.argv(writer.command), str(shop.base), fault, environment, str(shop.here), keep_calls=fault is None
        )

    def refused(self, writer: Writer, kind: str, fault: sandbox.Fault, expected: dict) -> None:
        shop = self.shop
        shop.reset(writer)
        done = self.traced(writer, fault)
        if not done.hit:
            return
        self.counts[kind] += 1
        paths = [os.path.relpath(path, shop.here) for _, path in done.calls]
        where = f"{kind} at call {fault.at} ({done.calls[0][0]} {paths[0]})"
        if done.timed_out:
            return self.fail(writer, where, "did not end in 60 s")
        if done.returncode == 0:
            self.counts["harmless"] += 1
            if wrong := differences(expected, tree(shop.here)):
                # What could not be removed the next call removes.
                if fault.error != errno.EACCES or not all("left over" in one for one in wrong):
                    self.fail(writer, where, f"exit code 0, but {'; '.join(wrong)}")
        else:
            self.look(writer, where, done.returncode, done.stderr, os.strerror(fault.error), expected)
            # Of a folder that is removed as a whole the message names the folder.
            names = [name for path in paths for name in (named(path), *(above.name for above in Path(path).parents))]
            if not any(name and name in done.stderr for name in names):
                self.fail(writer, where, f"the message names none of the files: {done.stderr.strip()}")
        self.again(writer, where, expected)

    def look(self, writer: Writer, where: str, code: int, words: str, reason: str, expected: dict) -> None:
        """Looks at the message of a command that failed and at what it left."""
        if code < 0 or code == 101:
            return self.fail(writer, where, f"ended by {code}: {words.strip()}")
        if reason not in words:
            self.fail(writer, where, f"exit code {code}, the message lacks {reason!r}: {words.strip()}")
        found = tree(self.shop.here)
        for name, content in found.items():
            # The record of an export that has begun is one of its folder, which has another name until the end.
            if Path(name).name in MARKS and name in expected and content != expected[name] and not self.is_kept(name):
                self.fail(writer, where, f"exit code {code}, but {name} looks whole")
        left = [name for name in found if name.endswith(".tmp") and name not in tree(self.shop.starts[writer.name])]
        if left and "remove" not in words and "unlink" not in where:
            self.fail(writer, where, f"left {', '.join(left)}")

    @staticmethod
    def is_kept(name: str) -> bool:
        """Of a run that goes on: its best model so far."""
        return "best/" in name

    def again(self, writer: Writer, where: str, expected: dict) -> None:
        try:
            done = self.shop.call(*writer.command)
        except subprocess.TimeoutExpired:
            return self.fail(writer, where, "the same command afterwards did not end in 60 s")
        if done.returncode != 0:
            words = done.stderr.strip()
            return self.fail(writer, where, f"the same command afterwards: exit code {done.returncode}: {words}")
        if wrong := differences(expected, tree(self.shop.here)):
            self.fail(writer, where, f"the same command afterwards: {'; '.join(wrong)}")

    def limits(self, writer: Writer, expected: dict) -> None:
        """Files that may not grow beyond a size."""
        shop = self.shop
        largest = max(path.stat().st_size for path in shop.here.rglob("*") if path.is_file())
        for _ in range(min(self.rounds or 10, 10)):
            limit = int(math_range(self.rng, 16, largest))

            def lower(limit: int = limit) -> None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

            shop.reset(writer)
            done = self.limited(writer, lower)
            self.counts["limit"] += 1
            where = f"files of at most {limit} bytes"
            if done.returncode != 0:
                self.look(writer, where, done.returncode, done.stderr, os.strerror(errno.EFBIG), expected)
            self.again(writer, where, expected)

    def limited(self, writer: Writer, lower) -> subprocess.CompletedProcess:
        """The command with pipes for its output, which no limit on files holds for."""
        return subprocess.run(
            self.shop.argv(writer.command),
            cwd=self.shop.here,
            env=self.shop.environment_of(writer),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            preexec_fn=lower,
        )

    def small_disk(self, writer: Writer, expected: dict) -> None:
        """A tmpfs over the folder, which grows after each failure."""
        shop = self.shop
        shop.reset(writer)
        kilobytes = 4 * sum(1 + path.lstat().st_size // 4096 for path in shop.here.rglob("*")) + 8
        empty(shop.here)
        options = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(shop.here)]
        if subprocess.run(options, capture_output=True).returncode != 0:
            return
        try:
            shop.reset(writer)
            for _ in range(200):
                done = shop.call(*writer.command)
                where = f"on a disk of {kilobytes} KiB"
                if done.returncode == 0:
                    if wrong := differences(expected, tree(shop.here)):
                        self.fail(writer, where, "; ".join(wrong))
                    return
                self.counts["small disk"] += 1
                # Some look first at what is free.
                told = [words for words in ("too little room", "bytes free") if words in done.stderr]
                reason = told[0] if told else os.strerror(errno.ENOSPC)
                self.look(writer, where, done.returncode, done.stderr, reason, expected)
                kilobytes += self.rng.choice((4, 8, 16, 32))
                subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(shop.here)], check=True)
            self.fail(writer, "on a small disk", "never got through")
        finally:
            subprocess.run(["umount", str(shop.here)], check=True)


def named(path: str) -> str:
    """How a message names a path: without the ending of a file that is being written."""
    name = Path(path).name
    parts = name.rsplit(".", 2)
    return parts[0] if len(parts) == 3 and parts[2] == "tmp" else name


def math_range(rng: random.Random, low: int, high: int) -> float:
    """As many small numbers as large ones."""
    return low * (max(high, low + 1) / low) ** rng.random()


def main() -> None:
    arguments = options(__doc__, "calls a way of refusing; 0: every call")
    # So that the small disk is taken away again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as base:
        disk = FullDisk(arguments, Path(base))
        for writer in writers():
            if not arguments.only or arguments.only in writer.name:
                disk.command(writer)
    told = ", ".join(f"{name} {count}" for name, count in disk.counts.items())
    print(f"refused {sum(disk.counts.values()) - disk.counts['harmless']}: {told}; wrong {len(disk.wrong)}")
    sys.exit(1 if disk.wrong else 0)


if __name__ == "__main__":
    main()
