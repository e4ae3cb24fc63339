"""The kernels as a library on the emulator, and memory as they have it."""

import ctypes
import pathlib
import re
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELS = ROOT / "crates/train/src/engine/cuda/kernels"
EMULATOR = ROOT / "tools/gpu/emulator"
FILES = "elementwise norm pointwise optimizer attention_plain".split()
ROUNDING = {"float": 3e-6, "bf16": 6e-3}


class Long(int):
    """An argument of 64 bits."""


class Library:
    """The kernels for numbers of one width and heads of one width."""

    checked = 0

    def __init__(self, folder, real, head_width):
        self.real, self.head_width, self.order = real, head_width, 0
        tiled = real == "bf16" and head_width <= 128
        text = "".join((KERNELS / f"{name}.cu").read_text() for name in FILES + ["attention_tensor"] * tiled)
        stem = pathlib.Path(folder) / f"{real}{head_width}"
        source, list_file, built = (stem.with_suffix(suffix) for suffix in (".cu", ".h", ".so"))
        source.write_text(text)
        names = re.findall(r'extern "C" __global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(', text)
        list_file.write_text("".join(f"KERNEL({name})\n" for name in names))
        command = ["c++", "-std=c++17", "-O2", "-w", "-shared", "-fPIC", f"-I{KERNELS}", f"-DREAL={real}"]
        command += [f"-DHEAD_WIDTH={head_width}", f'-DKERNELS="{source}"', f'-DNAMES="{list_file}"']
        subprocess.run([*command, EMULATOR / "emulator.cpp", "-o", built], check=True)
        self.kernels = ctypes.CDLL(str(built))

    def launch(self, kernel, grid, arguments, threads=256, shared=0):
        values = [argument(value) for value in arguments]
        places = (ctypes.c_void_p * len(values))(*[ctypes.addressof(value) for value in values])
        sizes = [ctypes.c_uint32(value) for value in (*(*grid, 1, 1)[:3], threads, shared)]
        count, order = ctypes.c_uint32(len(values)), ctypes.c_uint32(self.order)
        result = self.kernels.emulate(kernel.encode(), *sizes, places, count, order)
        if result != 0:
            sys.exit(f"{kernel}: {'no such kernel' if result == 1 else 'another number of arguments'}")

    def numbers(self, values):
        """In memory as the kernels have it."""
        values = np.asarray(values, np.float32)
        if self.real == "float":
            return aligned(values)
        bits = values.view(np.uint32).astype(np.uint64)
        return aligned(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16))

    def wide(self, array):
        if array.dtype == np.float32:
            return array.astype(float)
        return (array.astype(np.uint32) << 16).view(np.float32).astype(float)

    def check(self, what, got, expected, tolerance=None):
        Library.checked += 1
        far = np.abs(self.wide(got) - expected).max() / max(np.abs(expected).max(), 0.1)
        if not far < (tolerance or ROUNDING[self.real]):
            sys.exit(f"{what}, {self.real}, heads of {self.head_width}, order {self.order}: off by {far:.1e}")


def argument(value):
    if value is None:
        return ctypes.c_uint64(0)
    if isinstance(value, np.ndarray):
        return ctypes.c_uint64(value.ctypes.data)
    if isinstance(value, float):
        return ctypes.c_float(value)
    return ctypes.c_uint64(value) if isinstance(value, Long) else ctypes.c_uint32(int(value))


def aligned(values):
    """A copy that begins at a multiple of 256 bytes, as memory of a GPU does."""
    memory = np.empty(values.nbytes + 256, np.uint8)
    start = -memory.ctypes.data % 256
    copy = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def ids(values):
    return aligned(np.asarray(values, np.uint32))


def single(values):
    return aligned(np.asarray(values, np.float32))


def unwritten(*shape):
    return single(np.full(shape, np.nan))


def blocks(length, each=256):
    return (-(-length // each),)
