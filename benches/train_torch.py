"""Trains a Hugging Face folder with PyTorch on the CPU in f32: the peer of mixdown's own trainer.

    python benches/train_models.py MODELS
    python benches/train_torch.py MODELS/llama-11m --rows 8 --length 256
    python benches/train_torch.py MODELS/llama-11m --rows 8 --length 256 --mode compile
    python benches/train_torch.py MODELS/llama-11m --rows 8 --length 256 --implementation transformers
    python benches/train_torch.py MODELS/llama-11m --rows 8 --length 256 --losses 10

Prints one line of JSON: milliseconds of every timed step, tokens a second by their median, the
process's peak resident memory, the losses of the first three steps and of the last. With
`--losses N` it prints the losses of N steps and no times, to compare with another trainer.

A step is the forward pass, cross entropy over all logits, the backward pass, clipping to norm 1 and
fused AdamW (matrices decay, vectors do not). In the timing: all of that and reading the loss. Not in
it: starting, loading, making the tokens and the warm-up steps, which hold what torch.compile does.

The `plain` implementation (families llama and gpt2) is a model as people write it for themselves,
on F.scaled_dot_product_attention; `transformers` is AutoModelForCausalLM with that same attention.
Tokens come from splitmix64, so any language can make them. Needs torch and safetensors, and
transformers for its implementation; `--mode compile` needs a C++ compiler.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F

LEARNING_RATE, WEIGHT_DECAY, CLIP = 1e-3, 0.1, 1.0
BETAS, EPSILON = (0.9, 0.95), 1e-8


def attend(query, key, value):
    """Causal attention of [rows, length, heads, head_dim]; to [rows, length, heads * head_dim]."""
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    grouped = query.shape[1] != key.shape[1]
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=grouped)
    return mixed.transpose(1, 2).flatten(2)


def rotate(heads, cosines, sines):
    """Rotary positions: component i of a head turns with component i + head_dim / 2."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cosines + torch.cat((-second, first), dim=-1) * sines


class LlamaAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, heads = config["hidden_size"], config["num_attention_heads"]
        self.head_dim = config.get("head_dim") or width // heads
        key_width = (config.get("num_key_value_heads") or heads) * self.head_dim
        self.q_proj = nn.Linear(width, heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(width, key_width, bias=False)
        self.v_proj = nn.Linear(width, key_width, bias=False)
        self.o_proj = nn.Linear(heads * self.head_dim, width, bias=False)

    def forward(self, x, cosines, sines):
        split = (*x.shape[:2], -1, self.head_dim)
        query, key, value = (project(x).view(split) for project in (self.q_proj, self.k_proj, self.v_proj))
        query, key = rotate(query, cosines, sines), rotate(key, cosines, sines)
        return self.o_proj(attend(query, key, value))


class LlamaMlp(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, epsilon = config["hidden_size"], config["rms_norm_eps"]
        self.input_layernorm = nn.RMSNorm(width, eps=epsilon)
        self.self_attn = LlamaAttention(config)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=epsilon)
        self.mlp = LlamaMlp(width, config["intermediate_size"])

    def forward(self, x, cosines, sines):
        x = x + self.self_attn(self.input_layernorm(x), cosines, sines)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """Llama; its parameters carry the names that they have in the file, less `prefix`."""

    prefix = "model."

    def __init__(self, config):
        super().__init__()
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if rope.get("rope_type", "default") != "default":
            sys.exit(f"rope_type is {rope['rope_type']}: the plain implementation knows only default")
        width = config["hidden_size"]
        self.embed_tokens = nn.Embedding(config["vocab_size"], width)
        self.layers = nn.ModuleList(LlamaLayer(config) for _ in range(config["num_hidden_layers"]))
        self.norm = nn.RMSNorm(width, eps=config["rms_norm_eps"])
        self.lm_head = nn.Linear(width, config["vocab_size"], bias=False)
        if config.get("tie_word_embeddings"):
            self.lm_head.weight = self.embed_tokens.weight
        head_dim = self.layers[0].self_attn.head_dim
        theta = rope.get("rope_theta") or config.get("rope_theta") or 10_000.0
        frequencies = theta ** -(torch.arange(0, head_dim, 2).float() / head_dim)
        angles = torch.outer(torch.arange(config["max_position_embeddings"]).float(), frequencies)
        angles = torch.cat((angles, angles), dim=-1).unsqueeze(1)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, inputs):
        x = self.embed_tokens(inputs)
        length = inputs.shape[1]
        cosines, sines = self.cosines[:length], self.sines[:length]
        for layer in self.layers:
            x = layer(x, cosines, sines)
        return self.lm_head(self.norm(x))


class Gpt2Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x):
        parts = self.c_attn(x).chunk(3, dim=-1)
        return self.c_proj(attend(*(part.unflatten(-1, (self.heads, -1)) for part in parts)))


class Gpt2Mlp(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.c_fc = nn.Linear(width, inner)
        self.c_proj = nn.Linear(inner, width)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Gpt2Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, epsilon = config["n_embd"], config["layer_norm_epsilon"]
        self.ln_1 = nn.LayerNorm(width, eps=epsilon)
        self.attn = Gpt2Attention(width, config["n_head"])
        self.ln_2 = nn.LayerNorm(width, eps=epsilon)
        self.mlp = Gpt2Mlp(width, config.get("n_inner") or 4 * width)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Gpt2(nn.Module):
    """GPT-2; its parameters carry the names that they have in the file, less `prefix`."""

    prefix = "transformer."

    def __init__(self, config):
        super().__init__()
        width = config["n_embd"]
        self.wte = nn.Embedding(config["vocab_size"], width)
        self.wpe = nn.Embedding(config["n_positions"], width)
        self.h = nn.ModuleList(Gpt2Layer(config) for _ in range(config["n_layer"]))
        self.ln_f = nn.LayerNorm(width, eps=config["layer_norm_epsilon"])

    def forward(self, inputs):
        x = self.wte(inputs) + self.wpe(torch.arange(inputs.shape[1]))
        for layer in self.h:
            x = layer(x)
        return F.linear(self.ln_f(x), self.wte.weight)


PLAIN = {"llama": Llama, "gpt2": Gpt2}


@torch.no_grad()
def plain_model(folder, config):
    family = config["model_type"]
    if family not in PLAIN:
        sys.exit(f"{folder}: model_type is {family}: the plain implementation knows {', '.join(PLAIN)}")
    model = PLAIN[family](config)
    parameters = dict(model.named_parameters())
    with safe_open(folder / "model.safetensors", "pt") as file:
        for stored in file.keys():
            name, tensor = stored.removeprefix(model.prefix), file.get_tensor(stored)
            # GPT-2 stores its projections as [inputs, outputs].
            transposed = family == "gpt2" and ".c_" in name and tensor.dim() == 2
            parameters.pop(name).copy_(tensor.T if transposed else tensor)
    assert not parameters, f"{folder}: model.safetensors lacks {', '.join(parameters)}"
    return model


def transformers_model(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")


def batch(step, rows, length, vocabulary):
    """Inputs and targets of a step: products of two uniform numbers out of splitmix64."""
    per_step = rows * (length + 1)
    z = np.arange(step * per_step, (step + 1) * per_step, dtype=np.uint64)
    z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    high, low, vocabulary = z >> np.uint64(32), z & np.uint64(0xFFFFFFFF), np.uint64(vocabulary)
    ids = (high % vocabulary) * (low % vocabulary) // vocabulary
    tokens = torch.from_numpy(ids.astype(np.int64)).reshape(rows, length + 1)
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def fused_adamw(model):
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, eps=EPSILON, fused=True)


def stepper(model, arguments):
    """What takes inputs and targets, makes one step and returns its loss."""

    def loss_of(inputs, targets):
        if arguments.implementation == "transformers":
            logits = model(input_ids=inputs, use_cache=False).logits
        else:
            logits = model(inputs)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    forward = torch.compile(loss_of) if arguments.mode == "compile" else loss_of
    optimizer = fused_adamw(model)

    def step(inputs, targets):
        loss = forward(inputs, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return loss.item()

    return step


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="config.json and model.safetensors")
    parser.add_argument("--implementation", choices=["plain", "transformers"], default="plain")
    parser.add_argument("--mode", choices=["eager", "compile"], default="eager")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=256, help="tokens a row")
    parser.add_argument("--steps", type=int, default=10, help="timed steps")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the timed ones")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--losses", type=int, metavar="N", help="print the losses of N steps, no times")
    return parser.parse_args()


def main():
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    config = json.loads((arguments.folder / "config.json").read_text())
    if arguments.implementation == "transformers":
        model = transformers_model(arguments.folder)
    else:
        model = plain_model(arguments.folder, config)
    step = stepper(model.train(), arguments)
    report = {
        "model": arguments.folder.name,
        "implementation": arguments.implementation,
        "mode": arguments.mode,
        "torch": torch.__version__.split("+")[0],
        "threads": arguments.threads,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "rows": arguments.rows,
        "length": arguments.length,
    }
    losses, milliseconds = [], []
    for index in range(arguments.losses or arguments.warmup + arguments.steps):
        inputs, targets = batch(index, arguments.rows, arguments.length, config["vocab_size"])
        start = time.perf_counter()
        losses.append(step(inputs, targets))
        milliseconds.append((time.perf_counter() - start) * 1e3)
    if arguments.losses:
        report["losses"] = [round(loss, 7) for loss in losses]
    else:
        timed = milliseconds[arguments.warmup :]
        report["milliseconds"] = [round(value, 2) for value in timed]
        median = statistics.median(timed)
        report["tokens_per_second"] = round(arguments.rows * arguments.length / median * 1e3, 1)
        # Kilobytes on Linux, bytes on macOS.
        unit = 1e6 if sys.platform == "darwin" else 1e6 / 1024
        report["peak_rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)
        report["losses"] = [round(loss, 6) for loss in losses[:3] + losses[-1:]]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
