"""`mixdown train --lora-rank`: PEFT reads the adapter, and over the base it is the merged model."""

import importlib.util
import subprocess

import pytest

from test_docs import BINARY

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed"),
    pytest.mark.skipif(not BINARY.exists(), reason="the binary is not built: cargo build --release"),
]

TINY = {"vocab_size": 50257, "initializer_range": 0.2}


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(**TINY, n_embd=32, n_layer=2, n_head=4, n_positions=64))


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**TINY, **sizes, **heads, max_position_embeddings=64))


def pythia():
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return GPTNeoXForCausalLM(GPTNeoXConfig(**TINY, **sizes, max_position_embeddings=64))


@pytest.mark.parametrize("make", [gpt2, llama, pythia])
@pytest.mark.parametrize("targets", [[], ["--lora-targets", "all-linear"]])
def test_the_adapter_over_the_base_is_the_merged_model(make, targets, corpora, tmp_path):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    make().save_pretrained(tmp_path / "base")
    run = ["train", "--init", tmp_path / "base", "--target", corpora / "math", "--pretraining", corpora / "general"]
    sizes = ["--sequence-length", "32", "--batch-size", "4", "--steps", "12", "--eval-every", "6"]
    out = tmp_path / "out"
    command = [BINARY, *run, *sizes, "--learning-rate", "1e-2", "--lora-rank", "4", *targets, "--out", out]
    subprocess.run([*map(str, command)], check=True, capture_output=True)

    def logits_of(model):
        with torch.no_grad():
            return model.eval()(input_ids=tokens).logits

    def model_of(folder):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")

    tokens = torch.arange(3 * 40).reshape(3, 40) * 97 % 50257
    base = logits_of(model_of(tmp_path / "base"))
    merged = logits_of(model_of(out / "best"))
    adapter = PeftModel.from_pretrained(model_of(tmp_path / "base"), str(out / "best" / "adapter"))
    added = logits_of(adapter)
    assert (base - merged).abs().max() > 1e-2
    worst = (added - merged).abs().max().item()
    print(f"{make.__name__} {targets}: logits differ by at most {worst:.1e} of {merged.abs().max().item():.1f}")
    assert worst < 1e-5 * max(1.0, merged.abs().max().item())
