"""Makes the models of the training bench: random weights in Hugging Face folders.

    python benches/train_models.py MODELS                   # all three
    python benches/train_models.py MODELS llama-11m         # some

Writes MODELS/<name>/config.json and model.safetensors (f32) for

    llama-11m    11.0 million parameters, 8 layers of 256
    llama-34m    34.1 million parameters, 8 layers of 512
    gpt2-124m   124.4 million parameters, the published shape of GPT-2

Matrices are normal(0, 0.02) from a fixed seed, norms one, biases zero; no dropout. Needs torch and
transformers. The 34m and 124m folders take 136 and 498 MB.
"""

import argparse
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

SEED = 1
DEVIATION = 0.02


def llama(hidden: int, heads: int, intermediate: int) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=8,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=1024,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


def gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))


# What makes the model, and how many parameters it must have.
MODELS = {
    "llama-11m": (lambda: llama(256, 4, 768), 11_014_400),
    "llama-34m": (lambda: llama(512, 8, 1408), 34_087_424),
    "gpt2-124m": (gpt2, 124_439_808),
}


def initialize(model: PreTrainedModel) -> None:
    """Not left to transformers, whose own rule differs by family and release."""
    torch.manual_seed(SEED)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, DEVIATION)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(MODELS)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(MODELS):
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    for name in arguments.names or MODELS:
        make, expected = MODELS[name]
        model = make().float()
        initialize(model)
        parameters = model.num_parameters()
        assert parameters == expected, f"{name} has {parameters} parameters, expected {expected}"
        model.save_pretrained(arguments.folder / name)
        print(f"{name}: {parameters} parameters")


if __name__ == "__main__":
    main()
