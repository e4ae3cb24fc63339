"""Every command of mixdown that writes, on inputs of a few kilobytes, and how its result is compared.

kill_matrix.py, full_disk.py and together.py run the same commands. A command runs in the folder `here` below a base
folder, on inputs that stand beside it and never change; its result is all that `here` then holds.

Compared byte by byte, but for what tells the clock: in metrics.jsonl, summary.json and state.json the fields
tokens_per_second, data_wait, mfu, seconds and training_seconds; the sums of these files in BLAKE3SUMS, and their
lengths in records.json; in
TensorBoard's event files the times, the values of these fields and how many files there are. Of a page of runs the
rates of tokens are left out. The rows of a sweep are compared in any order, since a run that failed comes later; those
of its Parquet table only where pyarrow is installed.
"""

import argparse
import csv
import hashlib
import json
import math
import os
import random
import re
import shutil
import struct
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

WORDS = "the of and to in is that for it as was with be by on not he his but at are this have".split()
CLOCK = {"tokens_per_second", "data_wait", "mfu", "seconds", "training_seconds"}
# Which words a command says when it is given again.
DONE = "already done"

SWEEP = """pretraining = "../inputs/general"
p = ["0", "10%"]
target_tokens = [200]
seeds = [0]
[[domain]]
name = "d"
corpus = "../inputs/target"
[[model]]
name = "m"
hidden_size = 16
layers = 1
heads = 2
tokens = 64
[train]
sequence_length = 16
batch_size = 2
learning_rate = 3e-3
epochs = 1
warmup_steps = 1
[pretrain]
evaluations = 1
[eval]
sequences = 4
per_epoch = 1
"""
TRAINER = r"""
field() { sed -n "s/^ *\"$1\": \"*\([^\",]*\)\"*,*\$/\1/p" "$2" | head -n 1; }
printf '{"model_size": 1000, "non_embedding_parameters": 500, "p_realised": %s, "best_step": 7, "target_loss": 2.5,
 "pretraining_loss": 3.5, "pretraining_loss_before": 3.25, "evaluation_tokens": 64}' \
    "$(field p_requested "$1")" > "$(field row "$1")"
"""
SAMPLES = [
    "--set", 'eval.samples.prompts=["the","of"]', "--set", "eval.samples.max_tokens=3",
    "--set", "train.checkpoint_every=2",
]  # fmt: skip
MODEL = ["--hidden-size", "16", "--layers", "1", "--heads", "2"]
TRAIN = [
    "--sequence-length", "16", "--batch-size", "2", "--steps", "4", "--eval-every", "2", "--eval-sequences", "4",
    "--out", "run",
]  # fmt: skip
FINETUNE = ["--init", "../inputs/base/best", "--target", "../inputs/target", "--pretraining", "../inputs/general"]
DESCRIBED = ["--init", "../inputs/base/best", "--print-config"]


@dataclass
class Writer:
    """One command that writes, and where it begins."""

    name: str
    command: list[str]
    # Commands whose result is there already, and a folder of the inputs that is copied to `here`.
    before: tuple[list[str], ...] = ()
    copied: str = ""
    # Whether the command finds that all is done when it is given again; else it writes the same bytes again.
    says_done: bool = True
    # What its own threads are told to be, so that the order of calls stays.
    threads: bool = True


def prepare(*more: str, out: str = "corpus") -> list[str]:
    inputs = ["../inputs/a.jsonl", "../inputs/b.jsonl.gz", "../inputs/texts"]
    tokenizer = ["--tokenizer", "../inputs/tokenizer.json", "--out", out]
    return ["prepare", *inputs, *tokenizer, "--id-field", "id", "--holdout", "30%", *more]


def prepare_large(*more: str) -> list[str]:
    tokenizer = ["--tokenizer", "../inputs/tokenizer.json", "--out", "corpus"]
    return ["prepare", "../inputs/large", *tokenizer, "--id-field", "id", "--holdout", "2%", *more]


def writers() -> list[Writer]:
    tokenizer = ["--tokenizer", "../inputs/tokenizer.json"]
    tasks = [prepare("--task", f"{n}/2") for n in range(2)]
    sweep = ["sweep", "../inputs/sweep.toml", "--out", "sweep"]
    advice = ["--budget", "0.3", "--model-size", "2M", "--target-tokens", "1M", "--draws", "20"]
    finished = ["--out", "run"]
    pretrain = ["train", "--pretraining", "../inputs/general", *MODEL, *TRAIN]
    fit = ["fit", "../inputs/runs.csv", *advice, "--out", "out/fit.json", "--mixture-out", "out/mix.toml"]
    labels = ["prepare", "../inputs/pairs.jsonl", *tokenizer, "--out", "corpus", "--holdout", "30%"]
    fields = ["--prompt-field", "prompt", "--completion-field", "completion"]
    imports = {
        "llmc": [],
        "megatron": [],
        "npy": ["--format", "npy"],
        "nanogpt": ["--format", "raw", "--dtype", "uint16"],
        "olmo": ["--format", "olmo", "--dtype", "uint16"],
        "datatrove": [],
    }
    return [
        Writer("tokenizer train", ["tokenizer", "train", "../inputs/texts", "--vocab-size", "300",
                                   "--out", "made/tokenizer.json"]),
        Writer("prepare", prepare("--threads", "1")),
        Writer("prepare, two threads", prepare("--threads", "2"), threads=False),
        Writer("prepare --no-shuffle --work-dir", prepare("--threads", "1", "--no-shuffle", "--work-dir", "scratch")),
        Writer("prepare of labels in rows", [*labels, *fields, "--pack", "64", "--threads", "1"]),
        Writer("prepare --task 0/2", tasks[0]),
        Writer("prepare --task 1/2, the last", tasks[1], before=(tasks[0],)),
        Writer("prepare --finish", prepare("--finish"), before=tuple(tasks)),
        *(Writer(f"import of {name}", ["import", "data", *tokenizer, "--holdout", *holdout(name), *options],
                 copied=f"files-{name}") for name, options in imports.items()),
        *(Writer(f"export to {name}", ["export", "../inputs/labeled" if name in ("olmo", "datatrove") else
                                       "../inputs/general", "--to", name, "--out", "made/export"])
          for name in ("nanogpt", "llmc", "olmo", "datatrove", "megatron")),
        Writer("train", pretrain),
        Writer("train with samples", ["train", "../inputs/samples.toml", *finished]),
        Writer("train --init", ["train", *FINETUNE, "--inject", "10%", *TRAIN]),
        Writer("train with LoRA", ["train", *FINETUNE, "--inject", "10%", "--lora-rank", "2", *TRAIN]),
        Writer("train with EMA", ["train", "../inputs/ema.toml", *finished]),
        Writer("train --processes 2", [*pretrain, "--processes", "2"], threads=False),
        Writer("sweep --bases-only", [*sweep, "--bases-only"]),
        Writer("sweep", sweep, before=([*sweep, "--bases-only"],)),
        Writer("sweep --task 1/2, the last", [*sweep, "--task", "1/2"],
               before=([*sweep, "--bases-only"], [*sweep, "--task", "0/2"])),
        Writer("sweep with a program", ["sweep", "../inputs/program.toml", "--out", "sweep"],
               before=(["sweep", "../inputs/program.toml", "--out", "sweep", "--bases-only"],)),
        Writer("demo", ["demo", "--pretraining", "../inputs/demo/general", "--target", "../inputs/demo/target",
                        "--vocab-size", "300", "--target-tokens", "2k", "--pretraining-steps", "6",
                        "--finetuning-steps", "4", "--inject", "0,10%", "--out", "demo"], says_done=False),
        Writer("fit", fit, says_done=False),
        Writer("report of a run", ["report", "../inputs/base", "--out", "made/report.html"], says_done=False),
        Writer("report of a fit", ["report", "out/fit.json"], before=(fit,), says_done=False),
        Writer("man", ["man", "--out", "made/man"], says_done=False),
    ]  # fmt: skip


def holdout(name: str) -> list[str]:
    return {
        "llmc": ["data/val_000000.bin"],
        "megatron": ["data/holdout-00000.bin"],
        "npy": ["data/val.npy"],
        "nanogpt": ["data/val.bin"],
        "olmo": ["data/holdout-00000.npy"],
        "datatrove": ["data/holdout"],
    }[name]


class Workshop:
    """The inputs, the folder that commands work in, and what they leave there undisturbed."""

    def __init__(self, binary: str, base: Path, seed: int):
        self.binary, self.base, self.here = os.path.abspath(binary), base, base / "here"
        self.inputs = base / "inputs"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SLURM_")},
            "TMPDIR": str(self.here / "temporary"),
            "RAYON_NUM_THREADS": "1",
        }
        self.starts: dict[str, Path] = {}
        self.make_inputs(random.Random(seed))

    def make_inputs(self, rng: random.Random) -> None:
        self.inputs.mkdir(parents=True)
        self.here.mkdir()
        texts = self.inputs / "texts"
        texts.mkdir()
        number = iter(range(10**6))

        def text(words: int) -> str:
            return " ".join(rng.choices(WORDS, k=rng.randint(3, words))) + f" {next(number)}"

        for n in range(4):
            (texts / f"{n}.txt").write_text(text(300))
        for name, count in (("a", 20), ("b", 20), ("c", 30)):
            lines = [json.dumps({"text": text(60), "id": f"{name}-{n}"}) for n in range(count)]
            (self.inputs / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        pairs = [json.dumps({"prompt": text(8), "completion": " " + text(8)}) for _ in range(30)]
        (self.inputs / "pairs.jsonl").write_text("\n".join(pairs) + "\n")
        subprocess.run(["gzip", "-1", "-n", self.inputs / "b.jsonl"], check=True)
        (self.inputs / "sweep.toml").write_text(SWEEP)
        (self.inputs / "trainer.sh").write_text(TRAINER)
        program = SWEEP.replace("seeds = [0]", 'seeds = [0]\ncommand = "sh ../inputs/trainer.sh {run}"')
        (self.inputs / "program.toml").write_text(program)
        for name in ("general", "target"):
            folder = self.inputs / "demo" / name
            folder.mkdir(parents=True)
            for n in range(200):
                (folder / f"{n}.txt").write_text(text(120))
        self.write_table(self.inputs / "runs.csv", rng)
        self.make_models()

    def make_models(self) -> None:
        tokenizer = ["--tokenizer", "../inputs/tokenizer.json", "--holdout", "30%", "--out"]
        fields = ["--prompt-field", "prompt", "--completion-field", "completion"]
        self.must("tokenizer", "train", "../inputs/texts", "--vocab-size", "300", "--out", "../inputs/tokenizer.json")
        self.must("prepare", "../inputs/a.jsonl", *tokenizer, "../inputs/general")
        self.must("prepare", "../inputs/c.jsonl", *tokenizer, "../inputs/target")
        self.must("prepare", "../inputs/pairs.jsonl", *fields, *tokenizer, "../inputs/labeled")
        self.must("train", "--pretraining", "../inputs/general", *MODEL, *TRAIN[:-1], "../inputs/base")
        described = ["train", *FINETUNE, "--inject", "10%", *TRAIN[:-2], "--print-config"]
        for name, more in (("samples", SAMPLES), ("ema", ["--set", "train.ema=0.9"])):
            text = self.must(*described, *more).stdout
            (self.inputs / f"{name}.toml").write_text(text)
        for name in ("nanogpt", "llmc", "olmo", "datatrove", "megatron"):
            out = self.inputs / f"files-{name}" / "data"
            self.must("export", "../inputs/general", "--to", name, "--out", str(out))
            (out / ".mixdown-export").unlink()
            (out / "tokenizer.json").unlink()
        npy = self.inputs / "files-npy" / "data"
        npy.mkdir(parents=True)
        for name in ("train", "val"):
            ids = (self.inputs / "files-nanogpt" / "data" / f"{name}.bin").read_bytes()
            head = f"{{'descr': '<u2', 'fortran_order': False, 'shape': ({len(ids) // 2},), }}"
            head = head.ljust(117) + "\n"
            (npy / f"{name}.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + ids)

    def make_large_inputs(self, rng: random.Random, megabytes: float = 6) -> None:
        """Plain, zstd and gzip JSON lines and a folder of texts, of several parts each."""
        folder = self.inputs / "large"
        (folder / "texts").mkdir(parents=True)
        for name, share in (("a", 0.4), ("b", 0.3), ("c", 0.2)):
            with open(folder / f"{name}.jsonl", "w") as file:
                while file.tell() < megabytes * 1e6 * share:
                    text = " ".join(rng.choices(WORDS, k=rng.randint(0, 400)))
                    file.write(json.dumps({"text": text, "id": f"{name}-{file.tell()}"}) + "\n")
        subprocess.run(["gzip", "-1", "-n", folder / "b.jsonl"], check=True)
        if shutil.which("zstd"):
            subprocess.run(["zstd", "-1", "-q", "--rm", folder / "c.jsonl"], check=True)
        for n in range(50):
            (folder / "texts" / f"{n}.txt").write_text(" ".join(rng.choices(WORDS, k=2000)))

    def write_table(self, path: Path, rng: random.Random) -> None:
        """Runs as a law of forgetting has them, with a little noise."""
        columns = (
            "run_id domain model_size non_embedding_parameters target_tokens p_requested p_realised best_step "
            "target_loss pretraining_loss pretraining_loss_before evaluation_tokens seed fingerprint"
        ).split()
        with open(path, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(columns)
            for n in (1e5, 3e5, 1e6):
                for d in (3e4, 1e5, 3e5):
                    for p in (0.0, 0.01):
                        forgetting = 0.5 * (1e6 / n / (1 + 800 * p)) ** 0.4 * (d / 1e5) ** 0.3
                        before, noise = 3 + 0.2 * (1e6 / n) ** 0.3, math.exp(rng.gauss(0, 0.002))
                        target = (2 + 0.3 * (1e6 / n) ** 0.3 * (1e5 / d) ** 0.2) * math.exp(rng.gauss(0, 0.002))
                        name = f"r-{n:.0f}-{d:.0f}-{p}"
                        print_of = hashlib.sha256(name.encode()).hexdigest()
                        sizes = [int(n), int(n * 0.8), int(d), p, p, 100]
                        rows.writerow(
                            [name, "d", *sizes, target, (before + forgetting) * noise, before, 10000, 0, print_of]
                        )

    def argv(self, command: list[str]) -> list[str]:
        return [self.binary, *command]

    def call(self, *command: str, timeout: float = 60) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.argv(list(command)),
            cwd=self.here,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    def must(self, *command: str) -> subprocess.CompletedProcess:
        done = self.call(*command)
        if done.returncode != 0:
            raise SystemExit(f"undisturbed, but exit code {done.returncode}: {' '.join(command)}\n{done.stderr}")
        return done

    def environment_of(self, writer: Writer) -> dict[str, str]:
        if writer.threads:
            return self.environment
        return {name: value for name, value in self.environment.items() if name != "RAYON_NUM_THREADS"}

    def reset(self, writer: Writer) -> None:
        """Makes `here` what it is before the command."""
        if writer.name not in self.starts:
            start = self.base / "starts" / str(len(self.starts))
            empty(self.here)
            if writer.copied:
                shutil.copytree(self.inputs / writer.copied, self.here, dirs_exist_ok=True)
            (self.here / "temporary").mkdir()
            for command in writer.before:
                self.must(*command)
            shutil.copytree(self.here, start, symlinks=True)
            self.starts[writer.name] = start
        empty(self.here)
        shutil.copytree(self.starts[writer.name], self.here, symlinks=True, dirs_exist_ok=True)

    def undisturbed(self, writer: Writer) -> tuple[dict[str, object], float]:
        """The result and the seconds of the command when nothing comes in between."""
        self.reset(writer)
        begin = time.monotonic()
        self.must(*writer.command)
        return tree(self.here), time.monotonic() - begin


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def tree(folder: Path) -> dict[str, object]:
    """Every file and every empty folder, by what is compared of it."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            if not any(path.iterdir()):
                found[name + "/"] = None
        elif "/tensorboard/" in name:
            found.setdefault(str(Path(name).parent), {}).update(events(path.read_bytes()))
        else:
            found[name] = content(path)
    return found


def content(path: Path) -> object:
    data = path.read_bytes()
    if path.name in ("metrics.jsonl", "summary.json", "state.json"):
        try:
            return [without_clock(json.loads(line)) for line in pieces(path, data)]
        except ValueError:
            return data
    if path.name == "BLAKE3SUMS":
        lines = data.decode().splitlines()
        return [line for line in lines if not tells_clock(line.split("  ", 1)[1])]
    if path.name == "records.json":
        return [name for name in json.loads(data) if not name.startswith("tensorboard/")]
    if path.name.startswith("report") and path.suffix == ".html":
        data = re.sub(rb"[0-9,.]+(</td><td>|\s)tokens/s", b"", data)
        return re.sub(rb"<td>[^<]*</td><td>[0-9.]+\xc2\xa0(s|min)[^<]*</td>", b"", data)
    if path.name == "runs.jsonl":
        return sorted(data.splitlines())
    if path.name in ("runs.jsonl.blake3", "runs.parquet.blake3"):
        return None
    if path.name == "runs.parquet":
        return table(path)
    return hashlib.sha256(data).hexdigest()


def tells_clock(name: str) -> bool:
    """Whether the sum of that file changes with the clock."""
    return name.startswith("tensorboard/") or name in ("metrics.jsonl", "summary.json", "state.json", "records.json")


def table(path: Path) -> object:
    """The rows of a table in any order, as a run that failed comes after the others; without pyarrow nothing."""
    try:
        from pyarrow import parquet
    except ImportError:
        return None
    return sorted(map(repr, parquet.read_table(path).to_pylist()))


def pieces(path: Path, data: bytes) -> list[bytes]:
    return data.splitlines() if path.suffix == ".jsonl" else [data]


def without_clock(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_clock(inner) for key, inner in value.items() if key not in CLOCK}
    return [without_clock(inner) for inner in value] if isinstance(value, list) else value


def events(data: bytes) -> dict[tuple[int, str], bytes]:
    """The values of an event file by step and tag: a later one stands for an earlier one, as TensorBoard shows it."""
    found, at = {}, 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = dict(fields(data[at + 12 : at + 12 + length]))
        at += 16 + length
        for number, value in fields(event.get(5, b"")):
            tag = dict(fields(value)).get(1, b"").decode() if number == 1 else ""
            if not any(clock in tag for clock in (*CLOCK, "throughput")):
                found[event.get(2, 0), tag] = value
    return found


def fields(data: bytes):
    """The fields of a message of protocol buffers."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while at < len(data):
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        return value

    while at < len(data):
        key = number()
        kind = key & 7
        if kind == 0:
            yield key >> 3, number()
        else:
            length = {1: 8, 5: 4}.get(kind) or number()
            yield key >> 3, data[at : at + length]
            at += length


def differences(expected: dict[str, object], found: dict[str, object], ranks: bool = False) -> list[str]:
    """What differs. Ranks whose launcher was killed end their step and write a checkpoint of it: with `ranks` only
    the last checkpoint is compared."""
    names = sorted(set(expected) | set(found))
    if ranks:
        older = re.compile(r"run/checkpoints/step-[0-3]/")
        names = [name for name in names if not older.match(name)]
    return [
        f"{name} ({'left over' if name not in expected else 'missing' if name not in found else 'differs'})"
        for name in names
        if name not in expected or name not in found or expected[name] != found[name]
    ]


# Faults of a command that are told in words.
TOLD = 6


def options(description: str, rounds: str) -> argparse.Namespace:
    """The options that the scripts of faults share; `rounds` says what --rounds counts."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--binary", default="target/release/mixdown")
    parser.add_argument("--rounds", type=int, default=0, help=rounds)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="commands whose name holds these words")
    parser.add_argument("--folder", help="where to work; a temporary folder if not given")
    return parser.parse_args()


class Trial:
    """What the scripts of faults share: the commands' workshop, counts, and the faults that were found."""

    def __init__(self, arguments: argparse.Namespace, base: Path):
        self.rng = random.Random(arguments.seed)
        self.rounds = arguments.rounds
        self.shop = Workshop(arguments.binary, base, arguments.seed)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []  # the command of each fault

    def fail(self, writer: "Writer", where: str, what: str) -> None:
        self.wrong.append(writer.name)
        if self.wrong.count(writer.name) <= TOLD:
            print(f"  WRONG: {writer.name}, {where}: {what}", flush=True)
