#!/usr/bin/env python3
"""Damages every file that mixdown writes, and looks whether anything wrong passes for right.

usage: tools/faults/damage_matrix.py [--binary target/release/mixdown] [--rounds 3] [--seed 1] [--jobs 2]
                                     [--only GROUP] [--most N] [--seconds N] [--place FOLDER] [--keep]

Makes small corpora (plain, packed, of chats, labeled, adopted ones of one and of several shards), runs (finished,
killed, killed with an adapter) and sweeps (finished, killed) with the program itself. Then it damages copies of them,
one file at a time, --rounds times over with other places:

  flip      one bit, at the beginning, at the end and at random places
  cut       to nothing, by a byte, to half
  zero      a page of 4 KiB, the whole file
  append    a byte, a page
  swap      another file of the same kind: of another folder, or another file of the same folder
  remove    the file is gone
  foreign   a file that mixdown did not write, and one that it would read, were it there

and gives the commands that a user would give next. Each outcome is one of

  named     the command fails, and its message names the file
  harmless  the command succeeds, and its results are those without the damage, bit for bit
  unnamed   the command fails, and its message does not name the file
  silent    the command succeeds with other results, or `verify` finds nothing

The last two are wrong; each is printed. Prints the damages and the commands by kind of file and by outcome. Exit
code 1 if anything was wrong.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

WORDS = "the of and to in is that for it as was with be by on not he his but at are this have from or an".split()
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PAGE = 4096
# What depends on the clock.
TIMES = {"tokens_per_second", "seconds", "data_wait", "mfu", "training_seconds"}

RUN = """
[mixture]
sequence_length = 16
batch_size = 2
seed = 3
[[mixture.source]]
name = "target"
corpus = "corpora/plain"
weight = "75%"
[[mixture.source]]
name = "pretraining"
corpus = "corpora/other"
weight = "25%"
[eval]
every_steps = 10
sequences = 8
select = "target"
[[eval.corpus]]
name = "target"
corpus = "corpora/plain"
[[eval.corpus]]
name = "pretraining"
corpus = "corpora/other"
[eval.samples]
prompts = ["the of"]
max_tokens = 4
"""
FRESH = """
[model]
family = "llama"
vocab_size = 400
hidden_size = 16
intermediate_size = 32
layers = 1
heads = 2
seed = 0
"""
TRAIN = "\n[train]\nsteps = {steps}\nlearning_rate = 3e-3\ncheckpoint_every = 10\nkeep_checkpoints = 2\n"
MIX = """
sequence_length = 16
batch_size = 2
seed = 3
[[source]]
name = "target"
corpus = "{corpus}"
weight = "1"
"""
SWEEP = """
pretraining = "corpora/other"
p = ["0", "10%"]
target_tokens = [200, 400]
keep_weights = {keep}
[train]
sequence_length = 16
batch_size = 4
epochs = 2
patience = 2
learning_rate = 3e-3
warmup_steps = 1
checkpoint_every = 7
[eval]
sequences = 8
[[domain]]
name = "words"
corpus = "corpora/plain"
[[model]]
name = "16"
hidden_size = 16
layers = 1
heads = 2
tokens = 600
[[model]]
name = "24"
hidden_size = 24
layers = 1
heads = 2
tokens = 600
"""


# What is damaged.


@dataclass
class Command:
    """A command in a group's folder, and where its results are."""

    name: str
    arguments: list[str]
    # Which files may change its results; of the others `verify` alone is asked.
    reads: str
    results: list[str] = field(default_factory=list)
    is_verify: bool = False


@dataclass
class Group:
    """A folder that is damaged, with the commands that read it."""

    name: str
    folder: str
    commands: list[Command]
    files: list[str] = field(default_factory=list)
    # By command: (exit code, results) without damage.
    reference: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)


@dataclass
class Damage:
    group: Group
    file: str
    kind: str
    seed: int

    def title(self) -> str:
        return f"{self.group.name}: {self.file}: {self.kind} (seed {self.seed})"


class Program:
    def __init__(self, binary: Path):
        self.binary = binary

    def run(self, arguments: list[str], folder: Path) -> tuple[int, str, str]:
        environment = {**os.environ, "RAYON_NUM_THREADS": "1", "NO_COLOR": "1"}
        done = subprocess.run(
            [self.binary, *arguments], cwd=folder, env=environment, capture_output=True, timeout=300, check=False
        )
        out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        return done.returncode, out, err

    def ok(self, arguments: str | list[str], folder: Path) -> str:
        arguments = arguments.split() if isinstance(arguments, str) else arguments
        code, out, err = self.run(arguments, folder)
        if code != 0:
            raise SystemExit(f"{' '.join(arguments)}: exit code {code}\n{out}{err}")
        return out


def make_world(program: Program, folder: Path, rng: random.Random) -> None:
    """Texts, a tokenizer, corpora, runs and sweeps."""

    def texts(name: str, count: int, words: list[str]) -> None:
        lines = (json.dumps({"text": " ".join(rng.choices(words, k=rng.randint(5, 30)))}) for _ in range(count))
        (folder / name).write_text("\n".join(lines) + "\n")

    def say(count: int) -> str:
        return " ".join(rng.choices(WORDS, k=count))

    texts("plain.jsonl", 160, WORDS[:12])
    texts("other.jsonl", 160, WORDS[10:])
    turns = ([{"role": "user", "content": say(4)}, {"role": "assistant", "content": say(5)}] for _ in range(60))
    (folder / "chats.jsonl").write_text("".join(json.dumps({"messages": turn}) + "\n" for turn in turns))
    pairs = ({"prompt": say(5), "completion": say(6)} for _ in range(60))
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    program.ok("tokenizer train plain.jsonl other.jsonl --vocab-size 400 --out model/tokenizer.json", folder)
    (folder / "model/chat_template.jinja").write_text(TEMPLATE)
    settings = folder / "model/tokenizer_config.json"
    settings.write_text(json.dumps({**(json.loads(settings.read_text()) if settings.exists() else {}), "x": 1}))
    (folder / "model/special_tokens_map.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    prepare = "prepare {} --tokenizer model --out corpora/{} --holdout 10%"
    program.ok(prepare.format("plain.jsonl", "plain"), folder)
    program.ok(prepare.format("other.jsonl", "other"), folder)
    program.ok(prepare.format("plain.jsonl", "packed") + " --pack 16 --too-long truncate", folder)
    program.ok(prepare.format("chats.jsonl", "chats") + " --messages-field messages", folder)
    labels = " --prompt-field prompt --completion-field completion"
    program.ok(prepare.format("pairs.jsonl", "labeled") + labels, folder)
    program.ok("export corpora/plain --to nanogpt --out corpora/adopted", folder)
    program.ok("import corpora/adopted --tokenizer model --out corpora/adopted", folder)
    (folder / "corpora/adopted/.mixdown-export").unlink()
    program.ok("export corpora/plain --to llmc --shard-tokens 500 --out corpora/sharded", folder)
    program.ok("import corpora/sharded --tokenizer model --out corpora/sharded", folder)
    for name in ("plain", "packed", "chats", "labeled", "adopted", "sharded"):
        (folder / f"mix-{name}.toml").write_text(MIX.format(corpus=f"corpora/{name}"))
    (folder / "corpora/sharded/.mixdown-export").unlink()
    ema = TRAIN + "ema = 0.9\n"
    (folder / "run.toml").write_text(FRESH + RUN + ema.format(steps=20))
    (folder / "long.toml").write_text(FRESH + RUN + ema.format(steps=60))
    (folder / "lora.toml").write_text(
        '[model]\ninit = "runs/finished/best"\n' + RUN + TRAIN.format(steps=60) + "[train.lora]\nrank = 2\n"
    )
    program.ok("train run.toml --out runs/finished", folder)
    (folder / "second.toml").write_text((folder / "run.toml").read_text().replace("seed = 3", "seed = 4"))
    program.ok("train second.toml --out runs/second", folder)
    kill_train(program, folder, "long.toml", "runs/killed")
    kill_train(program, folder, "lora.toml", "runs/lora")
    (folder / "sweep.toml").write_text(SWEEP.format(keep="false"))
    (folder / "kept.toml").write_text(SWEEP.format(keep="true"))
    program.ok("sweep sweep.toml --out sweeps/finished", folder)
    kill_sweep(program, folder)


def kill_train(program: Program, folder: Path, description: str, out: str) -> None:
    """A run that was killed when it had two checkpoints."""
    for _ in range(20):
        shutil.rmtree(folder / out, ignore_errors=True)
        process = subprocess.Popen(
            [program.binary, "train", description, "--out", out],
            cwd=folder,
            env={**os.environ, "RAYON_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and len(whole_checkpoints(folder / out)) < 2:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if len(whole_checkpoints(folder / out)) >= 2 and not (folder / out / "summary.json").exists():
            return
    raise SystemExit(f"{description}: no run could be killed between its second checkpoint and its end")


def whole_checkpoints(run: Path) -> list[Path]:
    return sorted(run.glob("checkpoints/step-*[0-9]/state.json"))


def kill_sweep(program: Program, folder: Path) -> None:
    """A sweep that was killed when some of its runs had rows and another one had begun."""
    out = folder / "sweeps/killed"
    for _ in range(20):
        shutil.rmtree(out, ignore_errors=True)
        process = subprocess.Popen(
            [program.binary, "sweep", "kept.toml", "--out", "sweeps/killed"],
            cwd=folder,
            env={**os.environ, "RAYON_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and len(list(out.glob("runs/*/checkpoints"))) < 3:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        rows = out / "runs.jsonl"
        if rows.exists() and 2 <= len(rows.read_text().splitlines()) < 8:
            return
    raise SystemExit("no sweep could be killed between its rows")


def verify(folder: str) -> Command:
    return Command("verify", ["verify", folder], ".", is_verify=True)


def groups() -> list[Group]:
    found = []
    for name in ("plain", "packed", "chats", "labeled", "adopted", "sharded"):
        corpus = f"corpora/{name}"
        train = ["train", "--verify", "--pretraining", corpus, "--hidden-size", "8", "--layers", "1", "--heads", "1"]
        train += ["--steps", "2", "--eval-every", "2", "--eval-sequences", "4", "--batch-size", "2", "--out", "new"]
        train += ["--sequence-length", "16"]
        evaluate = ["eval", "--verify", "runs/finished/best", "--corpus", corpus, "--sequence-length", "16"]
        found.append(
            Group(
                f"corpus {name}",
                corpus,
                [
                    verify(corpus),
                    Command("train --verify", train, ".", ["new"]),
                    Command("mix --verify", ["mix", f"mix-{name}.toml", "--verify", "--order", "0..40"], "."),
                    Command("eval --verify", [*evaluate, "--sequences", "4"], "."),
                ],
            )
        )
    prompt = ["--prompt", "the of", "--max-tokens", "4", "--temperature", "0"]
    evaluated = ["--corpus", "corpora/plain", "--sequences", "4", "--sequence-length", "16"]
    weights = r"best/|run\.toml|BLAKE3SUMS"
    for name in ("finished", "killed", "lora"):
        run = f"runs/{name}"
        description = {"finished": "run.toml", "killed": "long.toml", "lora": "lora.toml"}[name]
        commands = [
            verify(run),
            Command("train", ["train", description, "--out", run], ".", [run]),
            Command("generate", ["generate", f"{run}/best", *prompt], weights),
            Command("eval", ["eval", run, *evaluated], weights),
        ]
        if name == "finished":
            init = ["train", "--init", run, "--target", "corpora/plain", "--pretraining", "corpora/other"]
            init += ["--steps", "2", "--eval-every", "2", "--eval-sequences", "4", "--batch-size", "2", "--out", "new"]
            again = ["train", f"{run}/run.toml", "--set", "train.steps=2", "--out", "new"]
            page = [run + "/report.html"]
            commands += [
                Command("train --init", init, weights, ["new"]),
                Command("train RUN/run.toml", again, r"run\.toml|BLAKE3SUMS", ["new"]),
                Command("report", ["report", run], r"^[^/]*$", page),
            ]
        found.append(Group(f"run {name}", run, commands))
    for name, description in (("finished", "sweep.toml"), ("killed", "kept.toml")):
        sweep = f"sweeps/{name}"
        commands = [
            verify(sweep),
            Command("sweep", ["sweep", description, "--out", sweep], ".", [sweep]),
            Command("report", ["report", sweep, "--draws", "10"], ".", [sweep + "/report.html"]),
        ]
        for table in ("runs.jsonl", "runs.parquet"):
            if name == "finished":
                fit = ["fit", f"{sweep}/{table}", "--draws", "10", "--json"]
                commands.append(Command(f"fit {table}", fit, table))
        found.append(Group(f"sweep {name}", sweep, commands))
    return found


# Damages.


def kind_of_file(name: str) -> str:
    """What a table of outcomes calls a file."""
    name = re.sub(r"^(bases|runs)/[^/]+/", r"\1/*/", name)
    name = re.sub(r"step-\d+", "step-*", name)
    name = re.sub(r"shard-\d+", "shard-*", name)
    name = re.sub(r"events\.out.*", "events", name)
    return re.sub(r"_\d{6}", "_*", name)


KINDS = [
    "flip first",
    "flip last",
    "flip",
    "flip",
    "flip",
    "flip",
    "cut to nothing",
    "cut a byte",
    "cut to half",
    "zero a page",
    "zero all",
    "append a byte",
    "append a page",
    "swap with another folder's",
    "swap within the folder",
    "remove",
]
# Beside a file, in its folder: one that nobody reads, and some that would be read.
FOREIGN = ["NOTES.txt", "generation_config.json", "model.safetensors.index.json", "chat_template.jinja"]


def damage(path: Path, damage: Damage, twins: list[Path], rng: random.Random) -> bool:
    """Damages the file; whether its bytes are others now."""
    kind = damage.kind
    if kind.startswith("foreign"):
        path = path.with_name(kind.split()[1])
        is_new = not path.exists()
        if is_new:
            path.write_text("{}\n")
        return is_new
    whole = path.read_bytes()
    if kind == "remove":
        path.unlink()
        return True
    data = bytearray(whole)
    if kind.startswith("flip"):
        if not data:
            return False
        at = {"flip first": 0, "flip last": len(data) - 1}.get(kind, rng.randrange(len(data)))
        data[at] ^= 1 << rng.randrange(8)
    elif kind.startswith("cut"):
        data = data[: {"cut to nothing": 0, "cut a byte": max(len(data) - 1, 0)}.get(kind, len(data) // 2)]
    elif kind == "zero a page":
        at = rng.randrange(max(len(data) // PAGE, 1)) * PAGE
        data[at : at + PAGE] = bytes(len(data[at : at + PAGE]))
    elif kind == "zero all":
        data = bytearray(len(data))
    elif kind.startswith("append"):
        data += bytes([rng.randrange(256)]) if kind == "append a byte" else rng.randbytes(PAGE)
    else:
        if not twins:
            return False
        data = bytearray(rng.choice(twins).read_bytes())
    if data == whole:
        return False
    path.write_bytes(data)
    return True


def twins_of(world: Path, damage: Damage) -> list[Path]:
    """Files of the same kind that could be put in the place of this one."""
    own = world / damage.group.folder / damage.file
    if damage.kind == "swap within the folder":
        beside = (path for path in own.parent.iterdir() if path.is_file() and path != own)
        return sorted(path for path in beside if path.suffix == own.suffix)
    others = (path for path in world.glob(f"{damage.group.folder.split('/')[0]}/**/{own.name}") if path != own)
    return sorted(others)


# Outcomes.


def results_of(folder: Path, paths: list[str]) -> dict[str, str]:
    """Hashes of what a command left, but for what depends on the clock."""
    found = {}
    for name in paths:
        path = folder / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            where = str(file.relative_to(folder))
            if file.is_file() and not is_of_the_clock(where):
                # Files name the folders that they were made with.
                data = timeless(file).replace(str(folder).encode(), b"@")
                found[where] = hashlib.sha256(data).hexdigest()[:16]
    return found


def difference(expected: dict[str, str], got: dict[str, str], damage: "Damage") -> list[str]:
    """What differs but for the damaged file itself, which stays as it is where a command does not read it."""
    own = str(Path(damage.group.folder) / damage.file)
    if damage.kind.startswith("foreign"):
        own = str(Path(own).with_name(damage.kind.split()[1]))
    return [name for name in sorted({*expected, *got}) if name != own and expected.get(name) != got.get(name)]


def is_of_the_clock(name: str) -> bool:
    """Whether a file has times in it, or is of a step between (whose number depends on the kill)."""
    parts = ("tensorboard", "BLAKE3SUMS", ".blake3", "records.json", "state.json", ".parquet")
    return any(part in name for part in parts)


def timeless(file: Path) -> bytes:
    data = file.read_bytes()
    if file.suffix == ".html":
        return re.sub(rb"[0-9.,]+ ?(tokens/s|s\b|seconds|min)", b"", data)
    if file.suffix not in (".json", ".jsonl"):
        return data

    def clean(value):
        if isinstance(value, dict):
            return {key: clean(one) for key, one in value.items() if key not in TIMES}
        return [clean(one) for one in value] if isinstance(value, list) else value

    try:
        values = [json.loads(data)] if file.suffix == ".json" else [json.loads(line) for line in data.splitlines()]
    except ValueError:
        return data
    return json.dumps([clean(value) for value in values]).encode()


def names(message: str, damage: Damage) -> bool:
    """Whether a message names the file, or for one that was removed or added its folder."""
    name = damage.kind.split()[1] if damage.kind.startswith("foreign") else Path(damage.file).name
    if name in message:
        return True
    # A file of sums may be named by the file that it has the sum of.
    if name.endswith(".blake3"):
        return name.removesuffix(".blake3") in message
    if name == "BLAKE3SUMS":
        return name in message or "sum" in message
    return False


class Matrix:
    def __init__(self, program: Program, world: Path, place: Path):
        self.program, self.world, self.place = program, world, place
        self.lock = threading.Lock()
        self.free: list[Path] = []
        self.damages: Counter = Counter()
        self.commands: Counter = Counter()
        self.by_file: dict[str, Counter] = {}
        self.wrong: list[str] = []
        self.count = 0

    def sandbox(self) -> Path:
        """A folder with a copy of everything, for one thread at a time."""
        with self.lock:
            if self.free:
                return self.free.pop()
            self.count += 1
            # Paths of equal length, as they stand in files.
            folder = self.place / f"copy-{self.count:03}"
        shutil.copytree(self.world, folder)
        return folder

    def restore(self, folder: Path, group: Group) -> None:
        shutil.rmtree(folder / "new", ignore_errors=True)
        shutil.rmtree(folder / group.folder, ignore_errors=True)
        shutil.copytree(self.world / group.folder, folder / group.folder)

    def do(self, command: Command, folder: Path) -> tuple[int, dict[str, str], str]:
        shutil.rmtree(folder / "new", ignore_errors=True)
        code, out, err = self.program.run(command.arguments, folder)
        text = re.sub(r"[0-9.,]+ tokens/s", "", out).replace(str(folder), "@")
        results = {"standard output": text} if not command.results else results_of(folder, command.results)
        return code, results, out + err

    def learn(self, group: Group) -> None:
        """The results of every command without damage."""
        group.files = sorted(
            str(path.relative_to(self.world / group.folder))
            for path in (self.world / group.folder).rglob("*")
            # What a killed process left of an unfinished folder or file is read by nobody.
            if path.is_file() and ".tmp" not in str(path.relative_to(self.world))
        )
        folder = self.sandbox()
        for command in group.commands:
            # Twice: what the clock changes would be told as damage.
            seen = []
            for _ in range(2):
                self.restore(folder, group)
                code, results, message = self.do(command, folder)
                seen.append((code, results))
                if command.is_verify and code != 0:
                    raise SystemExit(f"{group.name}: {command.name} without damage: exit code {code}\n{message}")
            if seen[0] != seen[1]:
                raise SystemExit(f"{group.name}: {command.name}: other results each time")
            if code != 0:
                print(f"note: {group.name}: {command.name} without damage: exit code {code}: {message.strip()[-200:]}")
            group.reference[command.name] = seen[0]
        self.restore(folder, group)
        with self.lock:
            self.free.append(folder)

    def try_one(self, damage_: Damage) -> None:
        rng = random.Random(f"{damage_.group.name} {damage_.file} {damage_.kind} {damage_.seed}")
        group, folder = damage_.group, self.sandbox()
        path = folder / group.folder / damage_.file
        twins = twins_of(self.world, damage_)
        outcomes = []
        others = [one for one in group.commands[1:] if re.search(one.reads, damage_.file)]
        asked = [group.commands[0], *(rng.sample(others, 1) if others else [])]
        for command in asked:
            if not damage(path, damage_, twins, random.Random(damage_.seed)):
                break
            is_recorded = self.is_recorded(damage_, folder)
            try:
                outcome, message = self.outcome(command, damage_, self.do(command, folder))
            except subprocess.TimeoutExpired:
                outcome, message = "hung", ""
            if outcome == "silent" and command.is_verify and not is_recorded:
                outcome = "harmless"
            outcomes.append((command.name, outcome, message))
            self.mend(folder, damage_, command)
        with self.lock:
            self.free.append(folder)
            self.note(damage_, outcomes)

    def mend(self, folder: Path, damage_: Damage, command: Command) -> None:
        """Takes the damage back, and all that the command left."""
        group, path = damage_.group, folder / damage_.group.folder / damage_.file
        if group.folder in command.results:
            self.restore(folder, group)
            return
        for name in command.results:
            if (folder / name).is_file():
                (folder / name).unlink()
        if damage_.kind.startswith("foreign"):
            path.with_name(damage_.kind.split()[1]).unlink()
        else:
            shutil.copy2(self.world / group.folder / damage_.file, path)

    def is_recorded(self, damage_: Damage, folder: Path) -> bool:
        """Whether what was damaged is covered: lines after the last checkpoint of a killed run are written again."""
        parts = Path(damage_.file).parts
        growing = ("metrics.jsonl", "samples.jsonl", "tensorboard")
        at = next((at for at, part in enumerate(parts) if part in growing), None)
        if at is None or damage_.kind.startswith("foreign"):
            return True
        run = self.world / damage_.group.folder / Path(*parts[:at])
        if (run / "summary.json").exists():
            return True
        name, recorded = str(Path(*parts[at:])), {}
        checkpoints = sorted(run.glob("checkpoints/step-*[0-9]"), key=lambda path: int(path.name.removeprefix("step-")))
        if checkpoints:
            recorded = json.loads((checkpoints[-1] / "records.json").read_text())
        length = recorded.get(name, {"bytes": 0})["bytes"]
        path = folder / damage_.group.folder / damage_.file
        now = path.read_bytes() if path.exists() else b""
        return now[:length] != (run / name).read_bytes()[:length]

    def outcome(self, command: Command, damage_: Damage, done: tuple[int, dict[str, str], str]) -> tuple[str, str]:
        """The outcome, and what tells more of a wrong one."""
        code, results, message = done
        expected_code, expected = damage_.group.reference[command.name]
        if code == 0 and command.is_verify:
            return ("harmless" if is_unread(damage_) else "silent"), message
        others = difference(expected, results, damage_)
        if code == expected_code and not others:
            return "harmless", ""
        if code != 0:
            return ("named" if names(message, damage_) else "unnamed"), message
        return "silent", f"other results: {', '.join(others[:4])}"

    def note(self, damage_: Damage, outcomes: list[tuple[str, str, str]]) -> None:
        if not outcomes:
            return
        kind = f"{damage_.group.name.split()[0]}: {kind_of_file(damage_.file)}"
        table = self.by_file.setdefault(kind, Counter())
        worst = "named"
        for name, outcome, message in outcomes:
            self.commands[(name, outcome)] += 1
            if outcome in ("silent", "unnamed", "hung"):
                worst = outcome
                line = f"{outcome}: {name}: {damage_.title()}: {message.strip()[-300:]!r}"
                self.wrong.append(line)
                print(line, flush=True)
        if worst == "named" and all(outcome == "harmless" for _, outcome, _ in outcomes):
            worst = "harmless"
        table[worst] += 1
        self.damages[worst] += 1
        if sum(self.damages.values()) % 500 == 0:
            print(f"{sum(self.damages.values())} damages", flush=True)


def is_unread(damage_: Damage) -> bool:
    """Whether an added file is one that is read nowhere in its folder."""
    if not damage_.kind.startswith("foreign"):
        return False
    parts = Path(damage_.file).parts[:-1]
    return damage_.kind == "foreign NOTES.txt" or not ("best" in parts or "checkpoints" in parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/mixdown", type=Path)
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--seed", default=1, type=int)
    parser.add_argument("--jobs", default=2, type=int)
    parser.add_argument("--only", default="", help="groups whose name has this in it")
    parser.add_argument("--most", default=0, type=int, help="at most so many damages, drawn evenly")
    parser.add_argument("--seconds", default=0, type=int, help="try no further damages after so long")
    parser.add_argument("--place", type=Path, help="the folder to work in; what an earlier call made in it is taken")
    parser.add_argument("--keep", action="store_true", help="leave the folder")
    arguments = parser.parse_args()
    program = Program(arguments.binary.resolve())
    place = arguments.place or Path(tempfile.mkdtemp(prefix="damage-"))
    world = place / "world"
    started = time.monotonic()
    try:
        if not world.exists():
            world.mkdir(parents=True)
            make_world(program, world, random.Random(arguments.seed))
        matrix = Matrix(program, world, place)
        chosen = [group for group in groups() if arguments.only in group.name]
        damages = []
        with ThreadPoolExecutor(arguments.jobs) as threads:
            list(threads.map(matrix.learn, chosen))
        for group in chosen:
            for number in range(arguments.rounds):
                seed = arguments.seed * 1000 + number
                for file in group.files:
                    kinds = KINDS if number == 0 else [kind for kind in KINDS if not is_always_the_same(kind)]
                    damages += [Damage(group, file, kind, seed + 100 * at) for at, kind in enumerate(kinds)]
                    if number == 0:
                        damages += [Damage(group, file, f"foreign {name}", seed) for name in FOREIGN]
        print(f"made everything in {time.monotonic() - started:.0f} s; {len(damages)} damages", flush=True)
        if 0 < arguments.most < len(damages):
            damages = random.Random(arguments.seed).sample(damages, arguments.most)
        ends = started + arguments.seconds if arguments.seconds else float("inf")

        def try_in_time(damage_: Damage) -> None:
            if time.monotonic() < ends:
                matrix.try_one(damage_)

        with ThreadPoolExecutor(arguments.jobs) as threads:
            list(threads.map(try_in_time, damages))
    finally:
        if not arguments.keep:
            shutil.rmtree(place, ignore_errors=True)
    report(matrix, time.monotonic() - started)
    return 1 if matrix.wrong else 0


def is_always_the_same(kind: str) -> bool:
    return kind.startswith(("cut", "remove")) or kind in ("zero all", "append a byte")


def report(matrix: Matrix, seconds: float) -> None:
    outcomes = ("named", "harmless", "unnamed", "silent", "hung")
    print(f"\n{'file':60}" + "".join(f"{outcome:>10}" for outcome in outcomes))
    for kind, table in sorted(matrix.by_file.items()):
        print(f"{kind:60}" + "".join(f"{table[outcome]:10}" for outcome in outcomes))
    print(f"{'damages':60}" + "".join(f"{matrix.damages[outcome]:10}" for outcome in outcomes))
    print()
    for name in sorted({name for name, _ in matrix.commands}):
        print(f"{name:60}" + "".join(f"{matrix.commands[(name, outcome)]:10}" for outcome in outcomes))
    total, commands = sum(matrix.damages.values()), sum(matrix.commands.values())
    print(f"\n{total} damages, {commands} commands, {len(matrix.wrong)} wrong, {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
