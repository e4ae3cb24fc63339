"""Compiles the kernels by NVRTC for several GPUs and shows what ptxas says of attention on tensor cores.

Usage: LD_LIBRARY_PATH=PREFIX/lib compile_kernels.py PREFIX, where PREFIX has lib/libnvrtc.so.13 and bin/ptxas.
Fails where a kernel does not compile, or one spills registers or keeps arrays in memory.
"""

import ctypes
import pathlib
import subprocess
import sys
import tempfile

KERNELS = pathlib.Path(__file__).resolve().parents[2] / "crates/train/src/engine/cuda/kernels"
FILES = "device.cuh common.cuh elementwise.cu norm.cu pointwise.cu optimizer.cu attention_plain.cu".split()
CASES = [
    (real, width, capability)
    for capability in (80, 90, 100)
    for real, width in [("bf16", 64), ("bf16", 128), ("bf16", 6), ("float", 64), ("float", 256)]
]


def ptx(nvrtc, text, options):
    program, length = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"mixdown.cu", 0, None, None)
    given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    failed = nvrtc.nvrtcCompileProgram(program, len(options), given)
    size, get = (
        (nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog)
        if failed
        else (nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)
    )
    size(program, ctypes.byref(length))
    result = ctypes.create_string_buffer(length.value)
    get(program, result)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    if failed:
        sys.exit(f"{options}:\n{result.value.decode()}")
    return result.value


def main():
    prefix = pathlib.Path(sys.argv[1])
    nvrtc = ctypes.CDLL(str(prefix / "lib/libnvrtc.so.13"))
    for real, width, capability in CASES:
        tiled = real == "bf16" and width <= 128
        files = FILES + ["attention_tensor.cu"] * tiled
        text = "".join((KERNELS / name).read_text() for name in files)
        options = [f"-DREAL={real}", f"-DHEAD_WIDTH={width}", f"--gpu-architecture=compute_{capability}", "--std=c++17"]
        with tempfile.NamedTemporaryFile(suffix=".ptx") as file:
            file.write(ptx(nvrtc, text, options))
            file.flush()
            command = [prefix / "bin/ptxas", "-v", f"-arch=sm_{capability}", file.name, "-o", "/dev/null"]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        name, spills = "", ""
        for line in told.splitlines():
            if "Compiling entry" in line:
                name = line.split("'")[1]
            elif "spill" in line:
                spills = line.strip()
            elif "Used" in line:
                used = line.split(":", 1)[1].split(",")[0].strip()
                if name.endswith("_tensor"):
                    print(f"{real} {width} sm_{capability} {name}: {used}")
                if spills != "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads":
                    sys.exit(f"{real} {width} sm_{capability} {name}: {used}, {spills}")
    print(f"{len(CASES)} programs compiled")


if __name__ == "__main__":
    main()
