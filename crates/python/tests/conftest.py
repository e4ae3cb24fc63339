"""Corpora that the tests share: prose, code, and chats with a loss mask, of one small tokenizer."""

import json
import os
import random
from pathlib import Path

import pytest

import mixdown

TOKENIZER = Path(__file__).parents[3] / "testdata" / "tokenizers" / "gpt2.json"


def write_documents(path, documents, words, seed):
    pick = random.Random(seed)
    with open(path, "w") as file:
        for number in range(documents):
            text = " ".join(pick.choice(words) for _ in range(pick.randint(20, 120)))
            file.write(json.dumps({"text": text, "id": f"document-{number}"}) + "\n")


def write_pairs(path, pairs, seed):
    pick = random.Random(seed)
    with open(path, "w") as file:
        for number in range(pairs):
            prompt = f"what is {number} plus {pick.randint(0, 99)}? "
            file.write(json.dumps({"prompt": prompt, "completion": str(pick.randint(0, 9999))}) + "\n")


@pytest.fixture(scope="session")
def corpora(tmp_path_factory):
    """A folder with the corpora ``math``, ``general`` and ``pairs``."""
    folder = tmp_path_factory.mktemp("corpora")
    write_documents(folder / "general.jsonl", 300, "the river town letter winter road music".split(), 1)
    write_documents(folder / "math.jsonl", 200, "let x = y + 17 * sum ( a , b ) ;".split(), 2)
    write_pairs(folder / "pairs.jsonl", 300, 3)
    options = {"end_of_text": "<|endoftext|>", "holdout": "5%", "progress": False}
    for name in ("general", "math"):
        mixdown.prepare(folder / f"{name}.jsonl", TOKENIZER, folder / name, id_field="id", **options)
    pairs = {"prompt_field": "prompt", "completion_field": "completion"}
    mixdown.prepare(folder / "pairs.jsonl", TOKENIZER, folder / "pairs", **pairs, **options)
    return folder


def mixture_of(corpora, **changes):
    options = {
        "sequence_length": 32,
        "batch_size": 12,
        "seed": 7,
        "sources": {"math": (corpora / "math", "90%"), "general": (corpora / "general", "10%")},
    }
    return mixdown.Mixture(**{**options, **changes})


@pytest.fixture
def mixture(corpora):
    return mixture_of(corpora)


@pytest.fixture
def labeled(corpora):
    return mixture_of(corpora, sources={"pairs": (corpora / "pairs", 1), "general": (corpora / "general", 1)})


@pytest.fixture
def mix_toml(corpora, tmp_path):
    """A MIX.toml whose paths count from its own folder."""
    path = tmp_path / "mix.toml"
    math, general = (os.path.relpath(corpora / name, tmp_path) for name in ("math", "general"))
    path.write_text(
        f"""sequence_length = 32
batch_size = 12
seed = 7
[[source]]
name = "math"
corpus = "{math}"
weight = "90%"
[[source]]
name = "general"
corpus = "{general}"
weight = "10%"
"""
    )
    return path
