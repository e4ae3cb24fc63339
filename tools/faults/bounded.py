"""Runs one command within bounds of time, memory and output, and says how it ended.

Used by mutations.py and limits.py. An outcome is one of:
  done, refused (exit codes 2, 3, 4 and 130), error (exit code 1)     in order
  stopped (long work that ended when it was interrupted)              in order
  panic, abort, signal, hang, memory, output                          wrong
"""

import os
import resource
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

WRONG = {"panic", "abort", "signal", "hang", "memory", "output"}
TIMEOUT_S = 60
MEMORY_BYTES = 2 << 30
# Beyond the limit an allocation fails, so that a wrong one takes no other process's memory.
ADDRESS_SPACE_BYTES = 8 << 30
OUTPUT_BYTES = 256 << 20


@dataclass
class Outcome:
    """How a command ended: the kind, its exit code, its largest resident memory, its seconds and its last words."""

    kind: str
    code: int
    memory_bytes: int
    seconds: float
    words: str

    @property
    def wrong(self) -> bool:
        """Whether no input may end a command like this."""
        return self.kind in WRONG


def bound_this_process():
    """Sets the limits that every command started from here on inherits; to be called once, early."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT_BYTES, OUTPUT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(argv: list, folder: Path, timeout_s: float = TIMEOUT_S, interrupt_s: float | None = None) -> Outcome:
    """Runs `argv` in `folder`; standard error is kept in a file there that is removed again.

    After `interrupt_s` the command gets SIGINT once, so that work that is long by right ends as `stopped`.
    """
    name = folder / f".words-{os.getpid()}"
    began = time.monotonic()
    hung = interrupted = False
    with open(name, "wb") as words:
        process = subprocess.Popen(
            [str(part) for part in argv],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=words,
            env={**os.environ, "RUST_BACKTRACE": "0", "NO_COLOR": "1"},
        )

        def stop(*_):
            nonlocal hung, interrupted
            if interrupt_s is not None and not interrupted:
                interrupted = True
                process.send_signal(signal.SIGINT)
                signal.setitimer(signal.ITIMER_REAL, max(0.1, timeout_s - interrupt_s))
                return
            hung = True
            process.kill()

        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, timeout_s if interrupt_s is None else interrupt_s)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        process.returncode = os.waitstatus_to_exitcode(status)
    text = name.read_bytes()[-4000:].decode("utf-8", "replace")
    name.unlink()
    code, memory = process.returncode, usage.ru_maxrss * 1024
    kind = {0: "done", 1: "error", 2: "refused", 3: "refused", 4: "refused", 130: "refused"}.get(code, "signal")
    if interrupted and kind in ("done", "refused", "error"):
        kind = "stopped"
    if hung:
        kind = "hang"
    elif code == -signal.SIGXFSZ:
        kind = "output"
    elif code == -signal.SIGABRT:
        kind = "abort"
    elif code == 101 or "panicked at" in text:
        kind = "panic"
    elif memory > MEMORY_BYTES:
        kind = "memory"
    return Outcome(kind, code, memory, time.monotonic() - began, text.strip())
