"""The kinds of files that mutations.py mutates: their originals and the commands that read them."""

import base64
import gzip
import json
import re
import struct
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTDATA = ROOT / "testdata"
RUNS = ROOT / "benches/results/2026-12-01-xeon-2-cores/sweep/runs.jsonl"

# Five JSON lines, compressed by zstd -19: Python 3.11 has no zstd.
ZSTD = base64.b64decode(
    "KLUv/QRoJQoAokocFpCrDVjb1hEsj4V/aHcn7L4CkZyvlgtAlIybPSp18ZaoqVILu1s1dfGJRKKveUxMTfVtnY96zXWDst4edc1dp2jC2KXebv"
    "fFtaXui3cveh0QJQFBMDlIj1qK+Y6NE330WuPFM5LmRP1F+VHJR7qznqBzqDGiO8203wEwhBDEoHoQSK7E0BjRpcuPocEsW+lAe9TE8IWRbnp6"
    "RygLCRED7A6vNvYrvGvaJKODA0ytCenRvphnE56T2SfU8MJ3Nwc8uZ4NpQoUoFp0CcqCATYvZfzAqilQM59pdWaWEmPt84HkiEowghR1kG02dv"
    "LCbD5A8Su52EqHNSOslg8fk0SpugGnMwHPQ4QDgHMeFviUeTGg/0XzuCrZO/2z636sQD7tMHFOa3zuOktPBRmVxwrB+ro+pS5zhBG64tTGB7Rj"
    "caEKcNqzMw=="
)


class Format:
    """One kind of file: its originals and the commands that read it."""

    def __init__(
        self, name, originals, commands, *, text, file="{case}/x", tree=None, drop=(), split=None, refused=False
    ):
        """`tree` is a folder of the world that a case has a copy of, `file` the path to write, relative to it;
        `drop` lists files that a share of the cases lacks; `split` gives a part of the bytes and puts it back;
        `refused` says that a command may refuse the original for what it holds."""
        self.name, self.originals, self.commands, self.text = name, originals, commands, text
        self.file, self.tree, self.drop, self.split, self.refused = file, tree, drop, split, refused


def safetensors_header(data):
    """The JSON header, and how it gets its length again."""
    (length,) = struct.unpack_from("<Q", data)
    return data[8 : 8 + length], lambda head: struct.pack("<Q", len(head)) + head + data[8 + length :]


def npy_header(data):
    """The header of NumPy's own format, and how it gets its length again."""
    (length,) = struct.unpack_from("<H", data, 8)
    return data[
        10 : 10 + length
    ], lambda head: data[:8] + struct.pack("<H", len(head) & 65535) + head + data[10 + length :]


def gzip_content(data):
    """What is compressed, and how it is compressed again."""
    return gzip.decompress(data), lambda content: gzip.compress(content, 1, mtime=0)


def unsealed(data):
    """A manifest without its seal, which is then a manifest of earlier versions."""
    manifest = json.loads(data)
    manifest.pop("seal", None)
    return json.dumps(manifest, indent=2).encode(), lambda text: text


def formats(world):
    """All formats with their originals from the world and from testdata."""

    def files(*names):
        return [(world / name).read_bytes() for name in names]

    def moved(*names):
        return [re.sub(rb'(corpus|pretraining) = "([cd])"', rb'\1 = "../\2"', data) for data in files(*names)]

    def testdata(pattern):
        return [path.read_bytes() for path in sorted(TESTDATA.glob(pattern))]

    def prepare(file, *more):
        return ["prepare", file, "--tokenizer", "tokenizer.json", "--out", "{case}/out", "--holdout", "30%", *more]

    def chats(template):
        return [
            *prepare("chats.jsonl"),
            "--train-on",
            "all",
            "--messages-field",
            "messages",
            "--chat-template",
            template,
        ]

    def imported(name):
        return ["import", "{case}/t", "--tokenizer", "tokenizer.json", "--format", name]

    runs = b"".join(RUNS.read_bytes().splitlines(keepends=True)[::4])
    rows = [json.loads(line) for line in runs.splitlines()]
    names = list(rows[0])
    table = ",".join(names) + "\n" + "".join(",".join(str(row.get(name, "")) for name in names) + "\n" for row in rows)
    few = ["--draws", "3"]
    generate = ["generate", "{case}/t", "--prompt", "the of", "--max-tokens", "2"]
    evaluate = ["eval", "{case}/t", "--corpus", "c", "--sequences", "2", "--sequence-length", "16"]
    finetune = ["train", "--init", "{case}/t", "--target", "d", "--pretraining", "c", "--steps", "1",
                "--sequence-length", "16", "--batch-size", "2", "--out", "{case}/out"]  # fmt: skip
    plan = [*finetune, "--dry-run"]
    go_on = ["train", "run.toml", "--out", "{case}/t"]
    corpus = [["verify", "{case}/t"], ["inspect", "{case}/t"], ["mix", "{case}/mix.toml", "--steps", "2"],
              ["train", "--pretraining", "{case}/t", "--out", "{case}/out", "--dry-run"],
              ["export", "{case}/t", "--to", "megatron", "--out", "{case}/out"]]  # fmt: skip
    show = [["watch", "{case}/t", "--json"], ["report", "{case}/t", "--out", "{case}/page.html"]]
    best = {"tree": "r/best", "drop": ["BLAKE3SUMS"]}
    text, binary = {"text": True}, {"text": False}
    chatml = str(TESTDATA / "chat/chatml.jinja")
    template = "{% for m in messages %}{{ m.content[:9] }}{% endfor %}{% if add_generation_prompt %}a{% endif %}"
    tokenizer_config = json.dumps({**json.loads(files("tokenizer_config.json")[0]), "chat_template": template}).encode()

    def fit(path, domains=("python_code", "math_latex")):
        return [["fit", path, "--draws", "3", "--domain", domains[0]],
                ["fit", path, "--draws", "3", "--domain", domains[1], "--budget", "0.1",
                 "--model-size", "1M", "--target-tokens", "300K"]]  # fmt: skip

    return [
        Format(
            "parquet",
            testdata("documents/*.parquet"),
            [
                prepare("{case}/x.parquet"),
                prepare(
                    "{case}/x.parquet", "--messages-field", "messages", "--skip-bad", "50", "--chat-template", chatml
                ),
            ],
            file="{case}/x.parquet",
            **binary,
        ),
        Format(
            "arrow",
            testdata("documents/*.arrow*"),
            [prepare("{case}/x.arrow"), prepare("{case}/x.arrow", "--text-field", "meta.text", "--skip-bad", "50")],
            file="{case}/x.arrow",
            **binary,
        ),
        Format(
            "gzip",
            [gzip.compress(part, mtime=0) for part in files("few.jsonl", "table.csv")],
            [prepare("{case}/x.gz", "--skip-bad", "9")],
            file="{case}/x.gz",
            split=gzip_content,
            **binary,
        ),
        Format("zstd", [ZSTD], [prepare("{case}/x.jsonl.zst")], file="{case}/x.jsonl.zst", **binary),
        Format(
            "jsonl",
            files("few.jsonl", "chats.jsonl"),
            [
                prepare("{case}/x.jsonl"),
                prepare("{case}/x.jsonl", "--skip-bad", "1000"),
                prepare("{case}/x.jsonl", "--messages-field", "messages", "--chat-template", chatml),
                ["tokenizer", "train", "{case}/x.jsonl", "--vocab-size", "280", "--out", "{case}/tokenizer.json"],
            ],
            file="{case}/x.jsonl",
            **text,
        ),
        Format("json", files("array.json"), [prepare("{case}/x.json")], file="{case}/x.json", **text),
        Format(
            "csv",
            files("table.csv"),
            [prepare("{case}/x.csv"), prepare("{case}/x.csv", "--skip-bad", "1000")],
            file="{case}/x.csv",
            **text,
        ),
        Format(
            "megatron-idx",
            testdata("interchange/megatron/*.idx") + files("exports/megatron/train-00000.idx"),
            [imported("megatron")],
            tree="exports/megatron",
            file="train-00000.idx",
            **binary,
        ),
        Format(
            "npy",
            files("npy/train.npy"),
            [["import", "{case}/t", "--tokenizer", "tokenizer.json"]],
            tree="npy",
            file="train.npy",
            split=npy_header,
            **binary,
        ),
        Format(
            "olmo-csv",
            files("exports/olmo/train-00000.csv.gz"),
            [imported("olmo")],
            tree="exports/olmo",
            file="train-00000.csv.gz",
            split=gzip_content,
            **binary,
        ),
        Format(
            "llmc",
            files("exports/llmc/train_000000.bin"),
            [imported("llmc")],
            tree="exports/llmc",
            file="train_000000.bin",
            **binary,
        ),
        Format(
            "datatrove",
            files("exports/datatrove/train/00000.ds.index"),
            [imported("datatrove")],
            tree="exports/datatrove",
            file="train/00000.ds.index",
            **binary,
        ),
        Format(
            "safetensors",
            files("r/best/model.safetensors"),
            [generate, evaluate, finetune, plan],
            file="model.safetensors",
            split=safetensors_header,
            **best,
            **binary,
        ),
        Format(
            "adapter",
            files("lora/best/adapter/adapter_model.safetensors"),
            [generate],
            tree="lora/best",
            drop=["BLAKE3SUMS"],
            file="adapter/adapter_model.safetensors",
            split=safetensors_header,
            **binary,
        ),
        Format(
            "adapter_config.json",
            files("lora/best/adapter/adapter_config.json"),
            [generate],
            tree="lora/best",
            drop=["BLAKE3SUMS"],
            file="adapter/adapter_config.json",
            **text,
        ),
        Format(
            "tokenizer.json",
            files("tokenizer.json") + testdata("tokenizers/[bgltqw]*.json"),
            [
                ["prepare", "few.jsonl", "--tokenizer", "{case}/x.json", "--out", "{case}/out", "--holdout", "0"],
                [
                    "prepare",
                    "few.jsonl",
                    "--tokenizer",
                    "{case}/x.json",
                    "--out",
                    "{case}/out",
                    "--holdout",
                    "0",
                    "--parse-special",
                ],
            ],
            file="{case}/x.json",
            **text,
        ),
        Format(
            "model-tokenizer.json",
            files("tokenizer.json"),
            [generate, evaluate, plan],
            file="tokenizer.json",
            **best,
            **text,
        ),
        Format(
            "tokenizer_config.json",
            [tokenizer_config],
            [
                generate,
                [*generate, "--chat"],
                plan,
                [
                    "prepare",
                    "chats.jsonl",
                    "--messages-field",
                    "messages",
                    "--tokenizer",
                    "{case}/t/tokenizer.json",
                    "--out",
                    "{case}/out",
                    "--holdout",
                    "30%",
                    "--train-on",
                    "all",
                ],
            ],
            file="tokenizer_config.json",
            **best,
            **text,
        ),
        Format(
            "config.json",
            files("r/best/config.json"),
            [generate, evaluate, plan, finetune],
            file="config.json",
            **best,
            **text,
        ),
        Format("BLAKE3SUMS", files("r/best/BLAKE3SUMS"), [generate, plan], tree="r/best", file="BLAKE3SUMS", **text),
        Format(
            "manifest.json",
            files("c/manifest.json") + testdata("golden/format-v1/tiny/manifest.json")[:1],
            corpus,
            tree="c",
            file="manifest.json",
            split=unsealed,
            **text,
        ),
        Format(
            "corpus-idx", files("c/train/shard-00000.idx"), corpus, tree="c", file="train/shard-00000.idx", **binary
        ),
        Format(
            "corpus-sums", files("c/train/shard-00000.sums"), corpus, tree="c", file="train/shard-00000.sums", **binary
        ),
        Format(
            "corpus-hashes",
            files("c/train/shard-00000.hashes"),
            [*corpus, ["inspect", "{case}/t", "--overlap", "d"]],
            tree="c",
            file="train/shard-00000.hashes",
            **binary,
        ),
        Format(
            "corpus-sketches",
            files("c/train/shard-00000.sketches"),
            [*corpus, ["inspect", "{case}/t", "--overlap", "d"]],
            tree="c",
            file="train/shard-00000.sketches",
            **binary,
        ),
        Format(
            "corpus-bin", files("c/train/shard-00000.bin"), corpus, tree="c", file="train/shard-00000.bin", **binary
        ),
        Format(
            "MIX.toml",
            moved("mix.toml"),
            [
                ["mix", "{case}/x.toml", "--steps", "3"],
                ["mix", "{case}/x.toml", "--steps", "12", "--order", "0..4"],
                ["mix", "{case}/x.toml", "--emit", "arrow", "--steps", "2"],
            ],
            file="{case}/x.toml",
            **text,
        ),
        Format(
            "mix-state", [], [["mix", "r-mix.toml", "--emit", "arrow", "--steps", "4", "--resume", "{content}"]], **text
        ),
        Format(
            "RUN.toml",
            moved("run.toml", "r/run.toml"),
            [
                ["train", "{case}/x.toml", "--out", "{case}/out", "--dry-run"],
                ["train", "{case}/x.toml", "--print-config"],
            ],
            file="{case}/x.toml",
            **text,
        ),
        Format(
            "SWEEP.toml",
            moved("sweep.toml"),
            [["sweep", "{case}/x.toml", "--out", "{case}/out", "--dry-run"]],
            file="{case}/x.toml",
            **text,
        ),
        Format(
            "runs.parquet",
            files("many/runs.parquet"),
            fit("{case}/x.parquet", ("d", "d")),
            refused=True,
            file="{case}/x.parquet",
            **binary,
        ),
        Format("runs.jsonl", [runs], fit("{case}/x.jsonl"), file="{case}/x.jsonl", **text),
        Format("runs.csv", [table.encode()], fit("{case}/x.csv"), file="{case}/x.csv", **text),
        Format(
            "fit.json",
            files("fit.json"),
            [
                ["report", "{case}/x.json", "--out", "{case}/page.html"],
                [
                    "design",
                    "--budget",
                    "0.1",
                    "--model-size",
                    "1M",
                    "--target-tokens",
                    "1M",
                    "--simulations",
                    "2",
                    "--domain",
                    "math_latex",
                    "--from",
                    "{case}/x.json",
                ],
            ],
            file="{case}/x.json",
            **text,
        ),
        Format("chat-template", testdata("chat/*.jinja"), [chats("{case}/x")], **text),
        Format(
            "metrics.jsonl", files("r/metrics.jsonl"), show, tree="r", file="metrics.jsonl", drop=["BLAKE3SUMS"], **text
        ),
        Format(
            "summary.json",
            files("r/summary.json"),
            [*show, ["train", "run.toml", "--out", "{case}/t"]],
            tree="r",
            file="summary.json",
            drop=["BLAKE3SUMS"],
            **text,
        ),
        Format("losses.json", files("r/losses.json"), show, tree="r", file="losses.json", drop=["BLAKE3SUMS"], **text),
        Format(
            "samples.jsonl", files("r/samples.jsonl"), show, tree="r", file="samples.jsonl", drop=["BLAKE3SUMS"], **text
        ),
        Format(
            "state.json",
            files("r/checkpoints/step-2/state.json"),
            [go_on],
            tree="half",
            file="checkpoints/step-2/state.json",
            drop=["checkpoints/step-2/BLAKE3SUMS"],
            **text,
        ),
        Format(
            "optimizer",
            files("r/checkpoints/step-2/optimizer.safetensors"),
            [go_on],
            tree="half",
            file="checkpoints/step-2/optimizer.safetensors",
            drop=["checkpoints/step-2/BLAKE3SUMS"],
            split=safetensors_header,
            **binary,
        ),
        Format("run-metrics", files("half/metrics.jsonl"), [go_on], tree="half", file="metrics.jsonl", **text),
        Format(
            "sweep-rows",
            files("sweep/runs.jsonl"),
            [
                ["sweep", "sweep.toml", "--out", "{case}/t"],
                ["report", "{case}/t", *few],
                ["watch", "{case}/t", "--json"],
            ],
            tree="sweep",
            file="runs.jsonl",
            **text,
        ),
    ]
