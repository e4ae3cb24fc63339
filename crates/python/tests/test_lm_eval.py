"""The guide's "Finetune a model", walked to its end: lm-evaluation-harness, on a task of one's own, reads both folders.

Nothing is fetched: the task and its texts are files. The numbers are compared with what transformers computes.
"""

import importlib.util
import json
import math
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from test_docs import BINARY, ROOT, blocks_of, run_shell, with_try  # noqa: F401

PAGE = "docs/guide/finetune-a-model.md"
METRICS = {"word_perplexity", "byte_perplexity", "bits_per_byte"}
# Each is shorter than the 128 tokens that the model reads, so that it is one window of lm_eval.
TEXTS = [
    "the river town letter winter road music the road",
    "A letter came in winter; nobody in town knew the road — or the river.",
    "fn main() {\n    let x = y + 17;\n}",
]

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed"),
    pytest.mark.skipif(not BINARY.exists(), reason="the binary is not built: cargo build --release"),
    pytest.mark.skipif(os.name == "nt", reason="commands for a POSIX shell"),
]


def block_with(language, words):
    """The one block of the page that has these words, without its indent."""
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    blocks = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    (block,) = (re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in blocks if words in text)
    return block


def scores_of(folder, model):
    (path,) = (folder / "scores" / model).glob("results_*.json")
    results = json.loads(path.read_text(encoding="utf-8"))["results"]["heldout"]
    return {name: results[f"{name},none"] for name in METRICS}


def scores_by_transformers(model_folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    nats = 0.0
    for text in TEXTS:
        ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text).input_ids]])
        assert ids.shape[1] <= model.config.max_position_embeddings
        with torch.no_grad():
            log_probabilities = model(ids[:, :-1]).logits.log_softmax(-1)
        nats -= log_probabilities.gather(2, ids[:, 1:, None]).sum().item()
    words = sum(len(text.split()) for text in TEXTS)
    size = sum(len(text.encode()) for text in TEXTS)
    return {
        "word_perplexity": math.exp(nats / words),
        "byte_perplexity": math.exp(nats / size),
        "bits_per_byte": nats / size / math.log(2),
    }


def test_lm_eval_reads_the_base_and_what_was_finetuned(with_try, tmp_path, monkeypatch):  # noqa: F811
    folder = tmp_path / "page"
    shutil.copytree(with_try, folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for language, text in blocks_of(PAGE):
        if language == "sh":
            run_shell(text, folder)
    (folder / "tasks").mkdir()
    (folder / "tasks" / "heldout.yaml").write_text(block_with("yaml", "task: heldout"), encoding="utf-8")
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    (folder / "heldout.jsonl").write_text(lines, encoding="utf-8")
    run_shell(block_with("bash", "--include_path"), folder)

    base, finetuned = scores_of(folder, "base"), scores_of(folder, "run__best")
    assert all(math.isfinite(score) for score in (*base.values(), *finetuned.values()))
    assert base == pytest.approx(scores_by_transformers(folder / "base"), rel=1e-3)
    assert finetuned == pytest.approx(scores_by_transformers(folder / "run" / "best"), rel=1e-3)
    assert base != pytest.approx(finetuned, rel=1e-3)
