"""Makes testdata/train/golden: the loss curve that mixdown-train must meet.

A tiny LlamaForCausalLM of transformers, trained by PyTorch in f32 on one thread from weights and
batches that the Rust test sees too. Batches come from a counter-based integer hash (splitmix64),
the weights from torch's generator, so they are written beside the curve.

    OMP_NUM_THREADS=1 python tools/golden_curve.py testdata/train/golden

Needs torch and transformers. Writes config.json and model.safetensors (initial weights) and
curve.json (settings, losses and gradient norms before clipping).
"""

import json
import math
import sys
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

ROWS, LENGTH, VOCABULARY, STEPS = 4, 32, 256, 20
RATE = {"peak": 1e-3, "warmup_steps": 5, "final_share": 0.1, "steps": STEPS}
ADAMW = {"beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1, "clip": 1.0}
MASK = (1 << 64) - 1


def splitmix64(counter: int) -> int:
    z = (counter + 1) * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def token(counter: int) -> int:
    """The product of two uniform numbers: small ids are frequent, so there is something to learn."""
    z = splitmix64(counter)
    return ((z >> 32) % VOCABULARY) * ((z & 0xFFFFFFFF) % VOCABULARY) // VOCABULARY


def batch(step: int) -> torch.Tensor:
    row = LENGTH + 1
    counters = range(step * ROWS * row, (step + 1) * ROWS * row)
    return torch.tensor([token(counter) for counter in counters]).reshape(ROWS, row)


def learning_rate(step: int) -> float:
    if step < RATE["warmup_steps"]:
        return RATE["peak"] * (step + 1) / RATE["warmup_steps"]
    done = (step - RATE["warmup_steps"]) / (STEPS - RATE["warmup_steps"])
    share = 0.5 * (1 + math.cos(math.pi * done))
    return RATE["peak"] * (RATE["final_share"] + (1 - RATE["final_share"]) * share)


def main(folder: Path) -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        # Larger than usual: attention and norms then matter from the first step.
        initializer_range=0.2,
        attn_implementation="eager",
    )
    model = LlamaForCausalLM(config).float().train()
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.data.uniform_(0.5, 1.5)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)

    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": ADAMW["weight_decay"]},
            {"params": vectors, "weight_decay": 0.0},
        ],
        betas=(ADAMW["beta1"], ADAMW["beta2"]),
        eps=ADAMW["epsilon"],
    )
    losses, norms = [], []
    for step in range(STEPS):
        tokens = batch(step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.zero_grad()
        logits = model(input_ids=tokens[:, :-1]).logits
        targets = tokens[:, 1:].reshape(-1)
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), targets)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), ADAMW["clip"])
        optimizer.step()
        losses.append(float(f"{loss.item():.10g}"))
        norms.append(float(f"{norm.item():.10g}"))

    curve = {
        "made_with": f"torch {torch.__version__.split('+')[0]}",
        "rows": ROWS,
        "length": LENGTH,
        "first_tokens": batch(0)[0, :8].tolist(),
        "learning_rate": RATE,
        "adamw": ADAMW,
        "losses": losses,
        "gradient_norms": norms,
    }
    (folder / "curve.json").write_text(json.dumps(curve, indent=2) + "\n")
    print(losses[0], losses[-1], max(norms))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
