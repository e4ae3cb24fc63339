"""Steps of PyTorch on one GPU, to time mixdown beside: a plain decoder in bf16 autocast with SDPA and fused AdamW.

Usage: torch_steps.py FAMILY LAYERS HIDDEN HEADS INNER VOCABULARY ROWS LENGTH eager|compile
Prints one JSON object: tokens a second (median of 20 steps after 10) and the peak of memory.
"""

import json
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, family, hidden, heads, inner):
        super().__init__()
        self.is_llama, self.heads = family == "llama", heads
        norm = (lambda: nn.RMSNorm(hidden, eps=1e-6)) if self.is_llama else (lambda: nn.LayerNorm(hidden))
        bias = not self.is_llama
        self.attention_norm, self.mlp_norm = norm(), norm()
        self.qkv = nn.Linear(hidden, 3 * hidden, bias=bias)
        self.output = nn.Linear(hidden, hidden, bias=bias)
        self.up = nn.Linear(hidden, 2 * inner if self.is_llama else inner, bias=bias)
        self.down = nn.Linear(inner, hidden, bias=bias)

    def forward(self, x, angles):
        rows, length, hidden = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv
        if self.is_llama:
            query, key = turn(query, angles), turn(key, angles)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.output(attended.transpose(1, 2).reshape(rows, length, hidden))
        up = self.up(self.mlp_norm(x))
        if self.is_llama:
            gate, up = up.chunk(2, dim=-1)
            return x + self.down(F.silu(gate) * up)
        return x + self.down(F.gelu(up, approximate="tanh"))


def turn(x, angles):
    cosine, sine = (table.to(x.dtype) for table in angles)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


class Decoder(nn.Module):
    def __init__(self, family, layers, hidden, heads, inner, vocabulary, length):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.positions = nn.Embedding(length, hidden) if family == "gpt2" else None
        self.blocks = nn.ModuleList(Block(family, hidden, heads, inner) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden) if family == "gpt2" else nn.RMSNorm(hidden, eps=1e-6)
        half = hidden // heads // 2
        frequencies = 10_000.0 ** (-torch.arange(half) / half)
        angles = torch.arange(length)[:, None] * frequencies
        self.register_buffer("cosines", angles.cos())
        self.register_buffer("sines", angles.sin())

    def forward(self, ids, targets):
        x = self.embedding(ids)
        if self.positions is not None:
            x = x + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, (self.cosines, self.sines))
        logits = F.linear(self.norm(x), self.embedding.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def main():
    family = sys.argv[1]
    layers, hidden, heads, inner, vocabulary, rows, length = map(int, sys.argv[2:9])
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    model = Decoder(family, layers, hidden, heads, inner, vocabulary, length).cuda()
    run = torch.compile(model) if sys.argv[9] == "compile" else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(vocabulary, (rows, length + 1), device="cuda")
    seconds = []
    for _ in range(30):
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            loss = run(ids[:, :-1], ids[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        seconds.append(time.perf_counter() - start)
    rate = rows * length / statistics.median(seconds[10:])
    print(json.dumps({"tokens_per_second": rate, "peak_bytes": torch.cuda.max_memory_allocated()}))


if __name__ == "__main__":
    main()
