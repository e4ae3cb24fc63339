"""A tiny corpus, tokenizer, run, sweep and their exports, made by the binary itself: what faults are tried on.

Used by mutations.py and limits.py. `make` takes some seconds.
"""

import json
import random
import subprocess
from pathlib import Path

WORDS = "the of and to in is that for it as was with be by on not he his but at are this have".split()

MIX = """sequence_length = 16
batch_size = 2
seed = 7
window_offset = "epoch"
access = "map"

[[source]]
name = "target"
corpus = "d"
weight = "99%"
max_tokens = "1k"

[[source]]
name = "pretraining"
corpus = "c"
weight = "1%"
max_epochs = 4

[[stage]]
start = "5 steps"
to = { target = "95%", pretraining = "5%" }
over = "4 steps"
"""

SWEEP = """pretraining = "c"
p = ["0", "1%"]
target_tokens = [500, 1_000]
seeds = [0]
keep_weights = false

[[domain]]
name = "d"
corpus = "d"

[[model]]
name = "8"
hidden_size = 8
layers = 1
heads = 1
tokens = 500
seed = 0
learning_rate = 1e-3

[[model]]
name = "16"
hidden_size = 16
layers = 1
heads = 1
tokens = 500

[train]
sequence_length = 16
batch_size = 4
learning_rate = 3e-3
epochs = 2
patience = 3
weight_decay = 0.1
warmup_steps = 2

[pretrain]
batch_size = 4
learning_rate = 1e-3
warmup_steps = 2
evaluations = 3

[eval]
sequences = 4
per_epoch = 2

[[run]]
model = "8"
domain = "d"
target_tokens = 500
p = "5%"
seed = 1
"""

RUN = """[model]
family = "llama"
vocab_size = 300
hidden_size = 8
intermediate_size = 32
layers = 1
heads = 1
seed = 0

[mixture]
sequence_length = 16
batch_size = 2
seed = 0
window_offset = "epoch"
access = "map"

[[mixture.source]]
name = "target"
corpus = "d"
weight = "99"
max_tokens = 1000

[[mixture.source]]
name = "pretraining"
corpus = "c"
weight = "1"

[train]
steps = 4
micro_batch_size = 2
learning_rate = 1e-3
warmup_steps = 1
decay_steps = 2
schedule = "wsd"
final_learning_rate_share = 0.1
weight_decay = 0.1
beta1 = 0.9
beta2 = 0.95
epsilon = 1e-8
clip = 1.0
patience = 2
recompute = false
path = "fast"
ema = 0.9
keep_checkpoints = 2
checkpoint_every = 2

[eval]
every_steps = 2
sequences = 4
select = "target"
pretraining = "pretraining"

[[eval.corpus]]
name = "target"
corpus = "d"
split = "holdout"

[[eval.corpus]]
name = "pretraining"
corpus = "c"
split = "holdout"

[eval.samples]
prompts = ["the "]
max_tokens = 3
temperature = 0.8
top_k = 5
top_p = 0.9
seed = 1
"""


def _texts(rng: random.Random, count: int) -> list[str]:
    return [" ".join(rng.choices(WORDS, k=rng.randint(5, 60))) for _ in range(count)]


def make(binary: Path, folder: Path) -> None:
    """Fills `folder`: text.jsonl, chats.jsonl, table.csv, tokenizer.json, corpora c and d, runs r and base, sweep/,
    mix.toml, run.toml, sweep.toml, and exports/ of corpus c."""
    rng = random.Random(1)
    lines = [{"text": text, "id": f"d{number}"} for number, text in enumerate(_texts(rng, 60))]
    (folder / "text.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "few.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:5]))
    (folder / "array.json").write_text(json.dumps(lines[:8], indent=1))
    (folder / "table.csv").write_text("id,text\n" + "".join(f'{n},"{line["text"]}"\n' for n, line in enumerate(lines)))
    chats = [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": text},
                {"role": "assistant", "content": text[:9], "weight": number % 2},
            ]
        }
        for number, text in enumerate(_texts(rng, 6))
    ]
    (folder / "chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    (folder / "mix.toml").write_text(MIX)
    (folder / "sweep.toml").write_text(SWEEP)
    (folder / "run.toml").write_text(RUN)

    def mixdown(*arguments):
        subprocess.run([binary, *arguments, "-q"], cwd=folder, check=True, capture_output=True)

    mixdown("tokenizer", "train", "text.jsonl", "--vocab-size", "300", "--out", "tokenizer.json")
    for name, seed in (("c", "0"), ("d", "2")):
        mixdown(
            "prepare", "text.jsonl", "--tokenizer", "tokenizer.json", "--out", name, "--seed", seed, "--holdout", "20%"
        )
    mixdown("train", "run.toml", "--out", "r")
    mixdown("train", "--init", "r/best", "--target", "d", "--pretraining", "c", "--steps", "2", "--lora-rank", "2",
            "--sequence-length", "16", "--batch-size", "2", "--out", "lora")  # fmt: skip
    mixdown("sweep", "sweep.toml", "--out", "sweep")
    for name in ("nanogpt", "llmc", "olmo", "datatrove", "megatron"):
        mixdown("export", "c", "--to", name, "--out", f"exports/{name}")
