"""A command under ptrace: each system call that changes the disk is counted, killed at, or made to fail.

Linux on x86_64, Python 3.11, no other program. A seccomp filter stops the traced processes at the system calls
that change a disk and at no others, so a command runs nearly as fast as without. Of those calls the ones count
that touch a path below one folder: what goes to a terminal, a pipe or /proc does not. The count runs over all
threads and all children of the command, so with N from 1 to the count of an undisturbed run every such call is
met once (strace counts for each thread by itself and never gets to most calls of a second thread).

    plan = sandbox.Fault(at=17, kill=True)              # SIGKILL in the place of the 17th call
    plan = sandbox.Fault(at=17, error=errno.ENOSPC)     # the 17th call fails
    plan = sandbox.Fault(at=17, error=errno.ENOSPC, stays=True)   # ... and all that need room after it
    plan = sandbox.Fault(at=17, meanwhile=function)     # the 17th call waits until the function has returned
    outcome = sandbox.run(["mixdown", "prepare", ...], below=folder, fault=plan)
"""

import ctypes
import errno
import os
import signal
import struct
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long

TRACEME, CONT, GETREGS, SETREGS, SETOPTIONS = 0, 7, 12, 13, 0x4200
# Forks, vforks, clones and exec are followed; seccomp's stops are told; all die with this process.
OPTIONS = 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
EVENT_SECCOMP = 7
WALL = 0x40000000
O_WRONLY, O_RDWR, O_CREAT, O_TRUNC = 0o1, 0o2, 0o100, 0o1000

# Number, name, and where the file is told: "fd" is the first argument, "path" the first, "at" the second below the
# folder of the first; "at2" and "path2" have the new name in a second pair.
CALLS = {
    1: ("write", "fd"),
    2: ("open", "path"),
    18: ("pwrite64", "fd"),
    20: ("writev", "fd"),
    40: ("sendfile", "fd"),
    74: ("fsync", "fd"),
    75: ("fdatasync", "fd"),
    76: ("truncate", "path"),
    77: ("ftruncate", "fd"),
    82: ("rename", "path2"),
    83: ("mkdir", "path"),
    84: ("rmdir", "path"),
    85: ("creat", "path"),
    86: ("link", "path2"),
    87: ("unlink", "path"),
    88: ("symlink", "path2"),
    90: ("chmod", "path"),
    91: ("fchmod", "fd"),
    257: ("openat", "at"),
    258: ("mkdirat", "at"),
    263: ("unlinkat", "at"),
    264: ("renameat", "at2"),
    265: ("linkat", "at2"),
    266: ("symlinkat", "path"),
    268: ("fchmodat", "at"),
    277: ("sync_file_range", "fd"),
    285: ("fallocate", "fd"),
    295: ("pwritev", "fd"),
    316: ("renameat2", "at2"),
    326: ("copy_file_range", "out"),
}
# Calls that a full disk refuses; a removal, a flush to the disk or a rename in one folder it does not.
NEEDS_ROOM = {
    "write", "open", "pwrite64", "writev", "sendfile", "ftruncate", "mkdir", "creat", "link", "symlink", "openat",
    "mkdirat", "linkat", "symlinkat", "fallocate", "pwritev", "copy_file_range",
}  # fmt: skip


class Registers(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_ulonglong)
        for name in (
            "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss "
            "fs_base gs_base ds es fs gs"
        ).split()
    ]


@dataclass
class Fault:
    """What happens at which call, counted from 1."""

    at: int
    kill: bool = False
    error: int = 0
    # Every later call that needs room fails as well, as on a disk that is full.
    stays: bool = False
    # A write is cut to half of its bytes before the calls after it fail.
    half: bool = False
    # What is done while the call waits; then it goes on as if nothing had been.
    meanwhile: Callable[[], None] | None = None


@dataclass
class Outcome:
    returncode: int  # as of subprocess: negative for a signal
    stdout: str
    stderr: str
    seconds: float
    hit: bool = False  # whether the fault came about
    calls: list[tuple[str, str]] = field(default_factory=list)  # name and path of each call that counted
    timed_out: bool = False


def filter_program() -> bytes:
    """BPF: stop at CALLS (at open and openat only if they create or write), let everything else pass."""
    load, equal, any_bit, answer = 0x20, 0x15, 0x45, 0x06
    trace, allow = 0x7FF00000, 0x7FFF0000
    code = [struct.pack("<HBBI", load, 0, 0, 0)]
    for number in CALLS:
        if number in (2, 257):
            flags_offset = 16 + 8 * (1 if number == 2 else 2)
            code.append(struct.pack("<HBBI", equal, 0, 4, number))
            code.append(struct.pack("<HBBI", load, 0, 0, flags_offset))
            code.append(struct.pack("<HBBI", any_bit, 0, 1, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))
            code.append(struct.pack("<HBBI", answer, 0, 0, trace))
            code.append(struct.pack("<HBBI", answer, 0, 0, allow))
        else:
            code.append(struct.pack("<HBBI", equal, 0, 1, number))
            code.append(struct.pack("<HBBI", answer, 0, 0, trace))
    code.append(struct.pack("<HBBI", answer, 0, 0, allow))
    return b"".join(code)


def install_filter(program: bytes) -> None:
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    whole = Program(len(program) // 8, ctypes.addressof(buffer))
    if LIBC.prctl(38, 1, 0, 0, 0) != 0 or LIBC.prctl(22, 2, ctypes.byref(whole), 0, 0) != 0:
        os._exit(125)


def ptrace(request: int, pid: int, address=None, data=None) -> int:
    result = LIBC.ptrace(request, pid, address, data)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request}: {os.strerror(ctypes.get_errno())}")
    return result


class Tracer:
    def __init__(self, below: str, fault: Fault | None, keep_calls: bool):
        self.below, self.fault, self.keep_calls = os.path.realpath(below), fault, keep_calls
        self.count, self.calls, self.hit = 0, [], False

    def text_at(self, pid: int, address: int) -> str:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            found = b""
            while b"\0" not in found and len(found) < 4096:
                # Never over the end of a page, behind which there may be nothing.
                room = 4096 - (address + len(found)) % 4096
                piece = os.pread(memory.fileno(), room, address + len(found))
                if not piece:
                    break
                found += piece
        return os.fsdecode(found.split(b"\0")[0])

    def path(self, pid: int, how: str, r: Registers) -> str:
        try:
            if how in ("fd", "out"):
                number = r.rdi if how == "fd" else r.rdx
                return os.readlink(f"/proc/{pid}/fd/{number & 0xFFFFFFFF}")
            first, second = (r.rdi, r.rsi) if how.startswith("path") else (r.rsi, r.r10)
            text = self.text_at(pid, second if how.endswith("2") else first)
            folder = ctypes.c_int(r.rdx if how == "at2" else r.rdi).value
            if os.path.isabs(text):
                return text
            if how.startswith("path") or folder == -100:
                return os.path.join(os.readlink(f"/proc/{pid}/cwd"), text)
            return os.path.join(os.readlink(f"/proc/{pid}/fd/{folder}"), text)
        except OSError:
            return ""

    def counts(self, path: str) -> bool:
        return path == self.below or path.startswith(self.below + "/")

    def at_call(self, pid: int) -> bool:
        """Looks at one call; returns whether all is to be killed."""
        registers = Registers()
        ptrace(GETREGS, pid, None, ctypes.addressof(registers))
        name, how = CALLS[registers.orig_rax]
        path = self.path(pid, how, registers)
        if not self.counts(path):
            return False
        self.count += 1
        if self.keep_calls:
            self.calls.append((name, path))
        fault = self.fault
        if fault is None or self.count < fault.at:
            return False
        if self.count > fault.at and not (fault.stays and name in NEEDS_ROOM):
            return False
        self.hit = True
        if not self.keep_calls:
            self.calls.append((name, path))
        if fault.kill:
            return True
        if fault.meanwhile:
            fault.meanwhile()
            return False
        if fault.half and self.count == fault.at:
            if name == "write" and registers.rdx > 1:
                registers.rdx //= 2
                ptrace(SETREGS, pid, None, ctypes.addressof(registers))
            return False
        registers.orig_rax = (1 << 64) - 1
        registers.rax = (1 << 64) - fault.error
        ptrace(SETREGS, pid, None, ctypes.addressof(registers))
        return False


def run(
    command: list[str],
    below: str,
    fault: Fault | None = None,
    env: dict[str, str] | None = None,
    cwd: str | None = None,
    timeout: float = 60.0,
    keep_calls: bool = False,
) -> Outcome:
    """Runs `command` and waits for it and all its children."""
    program = filter_program()
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
            null = os.open("/dev/null", os.O_RDONLY)
            for source, target in ((null, 0), (out.fileno(), 1), (err.fileno(), 2)):
                os.dup2(source, target)
            if cwd:
                os.chdir(cwd)
            LIBC.ptrace(TRACEME, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            install_filter(program)
            os.execvpe(command[0], command, env or os.environ)
        finally:
            os._exit(127)
    tracer = Tracer(below, fault, keep_calls)
    status, timed_out = follow(child, tracer, begin + timeout)
    out.seek(0), err.seek(0)
    texts = [file.read().decode(errors="replace") for file in (out, err)]
    out.close(), err.close()
    return Outcome(
        os.waitstatus_to_exitcode(status), *texts, time.monotonic() - begin, tracer.hit, tracer.calls, timed_out
    )


def follow(child: int, tracer: Tracer, deadline: float) -> tuple[int, bool]:
    """Steps through all stops until every traced process is gone; the status of the first, and whether time ran out."""
    os.waitpid(child, 0)
    ptrace(SETOPTIONS, child, None, OPTIONS)
    ptrace(CONT, child, None, 0)
    status, timed_out, new, killed = 0, False, set(), False
    old = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, True)

    def on_alarm(*_):
        nonlocal timed_out
        timed_out = True
        kill_group(child)

    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, max(0.01, deadline - time.monotonic()))
    try:
        while True:
            try:
                pid, state = os.waitpid(-1, WALL)
            except ChildProcessError:
                return status, timed_out
            if os.WIFEXITED(state) or os.WIFSIGNALED(state):
                if pid == child:
                    status = state
                continue
            deliver = 0
            stop, event = os.WSTOPSIG(state), state >> 16
            try:
                if stop == signal.SIGTRAP and event == EVENT_SECCOMP:
                    if tracer.at_call(pid) and not killed:
                        killed = True
                        kill_group(child)
                        # A program that the command started has a group of its own, and outlives it.
                elif stop == signal.SIGTRAP and event:
                    pass
                elif stop == signal.SIGSTOP and pid not in new:
                    new.add(pid)  # the stop with which a traced child begins
                elif stop != signal.SIGTRAP:
                    deliver = stop
                ptrace(CONT, pid, None, deliver)
            except OSError as error:
                if error.errno != errno.ESRCH:
                    raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def kill_group(child: int) -> None:
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
