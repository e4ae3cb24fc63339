"""Times `mixdown prepare` side by side with what else turns JSON lines into token ids.

    cargo build --release && cargo build --release -p mixdown-benches --example bare_encoder
    pip install 'tokenizers==0.23.*' gigatoken datatrove orjson pyarrow zstandard awkward
    python benches/prepare.py --corpora FOLDER --tokenizer gpt2.json --work /tmp/bench --megabytes 624

The input is made by cycling the JSON lines of FOLDER, each text with a prefix of its own in every
cycle, until it holds that many megabytes (10^6 bytes) of text. The contenders take turns, and
medians of `--rounds` are printed with the largest resident memory. What is timed: the whole
process for `mixdown` (start, loading the tokenizer, the finished and checksummed corpus); the
encoding alone for the library's bare encoder and for gigatoken (JSON lines to ids in memory, no file
written, loading left out); the executor's run for datatrove and encode_batch for tokenizers, on
a part of the input that is small enough to wait for.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import time

FAST = ["no-shuffle", "shuffle", "no-shuffle, 1 thread", "zstd", "parquet", "bare encoder", "gigatoken"]
SLOW = ["datatrove", "tokenizers encode_batch"]


def make_inputs(folder, work, megabytes):
    """The input as plain and zstd JSON lines and as Parquet, and small ones for the slow."""
    import zstandard

    plain = work / f"{megabytes}.jsonl"
    done = work / f"{megabytes}.bytes"
    if not done.exists():
        lines = []
        for path in sorted(folder.glob("*.jsonl.zst")):
            data = zstandard.ZstdDecompressor().stream_reader(path.open("rb")).read()
            lines += [json.loads(line)["text"] for line in data.decode().split("\n") if line]
        total, cycle = 0, 0
        with plain.open("w", encoding="utf-8") as out:
            while total < megabytes * 1e6:
                for text in lines:
                    text = f"{cycle} {text}" if cycle else text
                    total += len(text.encode())
                    out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                    if total >= megabytes * 1e6:
                        break
                cycle += 1
        done.write_text(str(total))
    return plain, int(done.read_text())


def pack(plain, total):
    """The same input as zstd JSON lines and as Parquet (zstd pages, 1,000 rows a group)."""
    import pyarrow
    import pyarrow.parquet
    import zstandard

    packed, table = plain.with_suffix(".jsonl.zst"), plain.with_suffix(".parquet")
    if not packed.exists():
        with plain.open("rb") as source, packed.open("wb") as out:
            zstandard.ZstdCompressor(level=3).copy_stream(source, out)
    if not table.exists():
        schema = pyarrow.schema([("text", pyarrow.string())])
        with pyarrow.parquet.ParquetWriter(table, schema, compression="zstd") as writer:
            rows = []
            for line in plain.open(encoding="utf-8"):
                rows.append(json.loads(line)["text"])
                if len(rows) == 1000:
                    writer.write_table(pyarrow.table({"text": rows}, schema))
                    rows = []
            writer.write_table(pyarrow.table({"text": rows}, schema))
    return packed, table


def small_input(plain, megabytes):
    """The first documents of the input, as many as hold that much text."""
    path = plain.with_name(f"first-{megabytes}.jsonl")
    total, lines = 0, []
    for line in plain.open(encoding="utf-8"):
        total += len(json.loads(line)["text"].encode())
        lines.append(line)
        if total >= megabytes * 1e6:
            break
    path.write_text("".join(lines), encoding="utf-8")
    return path, total


def timed(command, environment=None):
    """Wall and CPU seconds, largest resident MB and the output of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    out, errors = process.communicate()
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{command}: {errors.decode()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, out.decode()


def peak_megabytes(command, report):
    """Runs a command under GNU time and reads the largest resident set it saw."""
    subprocess.run(["/usr/bin/time", "-f", "%M", "-o", str(report), *map(str, command)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return int(report.read_text().split()[-1]) * 1024 / 1e6


GIGATOKEN = """
import sys, time, gigatoken
tokenizer = gigatoken.Tokenizer(sys.argv[2]); tokenizer.encode_batch(["warm", "up"])
start = time.perf_counter()
tokenizer.encode_files(gigatoken.JsonlFileSource([sys.argv[1]], "text"), parallel=True)
print(time.perf_counter() - start)
"""

TOKENIZERS = """
import json, sys, time, tokenizers
texts = [json.loads(line)["text"] for line in open(sys.argv[1], encoding="utf-8")]
tokenizer = tokenizers.Tokenizer.from_file(sys.argv[2])
start = time.perf_counter()
for first in range(0, len(texts), 256):
    tokenizer.encode_batch(texts[first:first + 256], add_special_tokens=False)
print(time.perf_counter() - start)
"""

DATATROVE = """
import pathlib, shutil, sys, time
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
source, tokenizer, out = map(pathlib.Path, sys.argv[1:])
shutil.rmtree(out, ignore_errors=True)
(out / "in").mkdir(parents=True)
lines = list(source.open(encoding="utf-8"))
for part in range(2):
    (out / "in" / f"{part}.jsonl").write_text("".join(lines[part::2]), encoding="utf-8")
if __name__ == "__main__":
    start = time.perf_counter()
    LocalPipelineExecutor(
        pipeline=[
            JsonlReader(str(out / "in")),
            DocumentTokenizer(output_folder=str(out / "out"), tokenizer_name_or_path=str(tokenizer),
                              eos_token=None, shuffle_documents=False),
        ],
        tasks=2, workers=2, logging_dir=str(out / "log"),
    ).run()
    print("seconds", time.perf_counter() - start)
"""


class Contenders:
    """Every contender's one run: seconds of what is timed, and its CPU seconds where it is whole."""

    def __init__(self, arguments, inputs):
        self.arguments, self.inputs = arguments, inputs
        self.release = arguments.target / "release"

    def prepare(self, source, *options):
        out = self.arguments.work / "corpus"
        shutil.rmtree(out, ignore_errors=True)
        return [self.release / "mixdown", "prepare", source, "--tokenizer", self.arguments.tokenizer,
                "--out", out, "--holdout", "0", *options]

    def command(self, name):
        plain, packed, table = self.inputs
        return {
            "no-shuffle": lambda: self.prepare(plain, "--no-shuffle"),
            "shuffle": lambda: self.prepare(plain),
            "no-shuffle, 1 thread": lambda: ["taskset", "-c", "0", *self.prepare(plain, "--no-shuffle")],
            "zstd": lambda: self.prepare(packed, "--no-shuffle"),
            "parquet": lambda: self.prepare(table, "--no-shuffle"),
        }[name]()

    def run(self, name, small):
        plain = self.inputs[0]
        python, tokenizer = self.arguments.python, self.arguments.tokenizer
        if name == "bare encoder":
            example = self.release / "examples" / "bare_encoder"
            _, _, out = timed([example, tokenizer, plain, 2])
            return float(out.split()[-2]), None
        if name == "gigatoken":
            _, _, out = timed([python, "-c", GIGATOKEN, plain, tokenizer])
            return float(out), None
        if name == "tokenizers encode_batch":
            _, _, out = timed([python, "-c", TOKENIZERS, small, tokenizer])
            return float(out), None
        if name == "datatrove":
            script = self.arguments.work / "datatrove_run.py"
            script.write_text(DATATROVE)
            _, _, out = timed([python, script, small, tokenizer, self.arguments.work / "datatrove"])
            return float(out.split("seconds")[-1].split()[0]), None
        seconds, cpu, _ = timed(self.command(name))
        return seconds, cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--target", type=pathlib.Path, default=pathlib.Path("target"))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--megabytes", type=int, default=624)
    parser.add_argument("--small-megabytes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="contenders by name")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    plain, total = make_inputs(arguments.corpora, arguments.work, arguments.megabytes)
    inputs = (plain, *pack(plain, total))
    small, small_total = small_input(plain, arguments.small_megabytes)
    contenders = Contenders(arguments, inputs)
    chosen = [name for name in FAST + SLOW if not arguments.only or name in arguments.only]
    for path in inputs:
        path.read_bytes()
    seconds = {name: [] for name in chosen}
    cpu = {name: [] for name in chosen}
    for number in range(arguments.rounds + 1):
        for name in chosen:
            if name in SLOW and number > 1:
                continue
            wall, used = contenders.run(name, small)
            if number:
                seconds[name].append(wall)
                cpu[name].append(used)
                print(f"round {number} {name}: {wall:.3f} s", file=sys.stderr, flush=True)
    print(f"{total / 1e6:.1f} MB of text; {small_total / 1e6:.1f} MB for {' and '.join(SLOW)}")
    print(f"{'contender':24} {'MB/s median':>11} {'min':>7} {'max':>7} {'CPU ns/byte':>11} {'peak MB':>8}")
    for name in chosen:
        size = small_total if name in SLOW else total
        speeds = [size / 1e6 / wall for wall in seconds[name]]
        used = [value for value in cpu[name] if value is not None]
        nanoseconds = f"{statistics.median(used) / size * 1e9:.2f}" if used else ""
        peak = ""
        if used:
            peak = f"{peak_megabytes(contenders.command(name), arguments.work / 'peak'):.0f}"
        print(f"{name:24} {statistics.median(speeds):11.1f} {min(speeds):7.1f} {max(speeds):7.1f}"
              f" {nanoseconds:>11} {peak:>8}")
    shutil.rmtree(arguments.work / "corpus", ignore_errors=True)


if __name__ == "__main__":
    main()
