"""Makes the tiny models of testdata/train: what mixdown-train must compute, by transformers.

One random model of every family that the trainer knows, trained by PyTorch in f32 on one thread
from weights and batches that the Rust tests see too. Batches come from a counter-based integer
hash (splitmix64), the weights from torch's generator, so they are written beside the curve.

    OMP_NUM_THREADS=1 python tools/golden/golden_models.py testdata/train          # all
    OMP_NUM_THREADS=1 python tools/golden/golden_models.py testdata/train gpt2     # some

Needs torch, transformers and safetensors. Writes in each folder config.json and model.safetensors
(initial weights), logits.safetensors (`logits` of batch 0 with the initial weights, f32) and
curve.json: settings, losses, gradient norms before clipping, and `document_loss`, the loss of
batch 0 with the initial weights when each row is two documents of `document_lengths` tokens that
do not see each other and that count positions from 0. Targets stay the next token of the row.

What each folder is for:

    gpt2    learned positions, LayerNorm, transposed weights, gelu_new, biases, tied head
    llama   grouped key/value heads, rope scaling of Llama 3 in all its three ranges, head of its own
    qwen2   biases on query, key and value only, grouped heads, tied head
    qwen3   norms on query and key, heads wider than hidden_size / heads, grouped heads, tied head
    pythia  a quarter of each head rotated, parallel residual, exact gelu, fused query_key_value
"""

import json
import math
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

ROWS, LENGTH, VOCABULARY, STEPS = 4, 32, 256, 20
WIDTH, LAYERS, POSITIONS = 32, 2, 64
DOCUMENT_LENGTHS = [13, 19]
RATE = {"peak": 1e-3, "warmup_steps": 5, "final_share": 0.1, "steps": STEPS}
ADAMW = {"beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1, "clip": 1.0}
MASK = (1 << 64) - 1

# Short wavelengths and a short original context: of the four frequencies of a head one is kept,
# one is blended and two are divided. The published factors (1 and 4) would keep none.
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 0.5,
    "high_freq_factor": 2.0,
    "original_max_position_embeddings": 16,
}
COMMON = {
    "vocab_size": VOCABULARY,
    "bos_token_id": 0,
    "eos_token_id": 0,
    # Larger than usual: attention and norms then matter from the first step.
    "initializer_range": 0.2,
    "attn_implementation": "eager",
}
LLAMA_LIKE = COMMON | {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
}


def gpt2():
    dropouts = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    shape = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_positions": POSITIONS}
    return GPT2LMHeadModel(GPT2Config(**COMMON, **shape, **dropouts))


def llama():
    config = LlamaConfig(**LLAMA_LIKE, rms_norm_eps=1e-5, rope_parameters=dict(LLAMA3_ROPE), tie_word_embeddings=False)
    check_all_ranges(LLAMA3_ROPE, config.hidden_size // config.num_attention_heads)
    return LlamaForCausalLM(config)


def qwen2():
    rope = {"rope_type": "default", "rope_theta": 10_000.0}
    return Qwen2ForCausalLM(
        Qwen2Config(**LLAMA_LIKE, rms_norm_eps=1e-6, rope_parameters=rope, tie_word_embeddings=True)
    )


def qwen3():
    rope = {"rope_type": "default", "rope_theta": 1_000_000.0}
    config = Qwen3Config(**LLAMA_LIKE, head_dim=16, rms_norm_eps=1e-6, rope_parameters=rope, tie_word_embeddings=True)
    return Qwen3ForCausalLM(config)


def pythia():
    config = GPTNeoXConfig(
        **COMMON,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        max_position_embeddings=POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.25},
        hidden_act="gelu",
        use_parallel_residual=True,
        tie_word_embeddings=False,
    )
    return GPTNeoXForCausalLM(config)


FAMILIES = {make.__name__: make for make in (gpt2, llama, qwen2, qwen3, pythia)}


def check_all_ranges(rope: dict, head_dim: int) -> None:
    """Stops unless some frequency is kept, some is blended and some is divided by the factor."""
    wavelengths = [2 * math.pi * rope["rope_theta"] ** (i / head_dim) for i in range(0, head_dim, 2)]
    longest_kept = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
    shortest_divided = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
    assert min(wavelengths) < longest_kept
    assert any(longest_kept < wavelength < shortest_divided for wavelength in wavelengths)
    assert max(wavelengths) > shortest_divided


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
    """`ROWS` rows of `LENGTH` inputs and the target of the last one."""
    row = LENGTH + 1
    counters = range(step * ROWS * row, (step + 1) * ROWS * row)
    return torch.tensor([token(counter) for counter in counters]).reshape(ROWS, row)


def learning_rate(step: int) -> float:
    if step < RATE["warmup_steps"]:
        return RATE["peak"] * (step + 1) / RATE["warmup_steps"]
    done = (step - RATE["warmup_steps"]) / (STEPS - RATE["warmup_steps"])
    share = 0.5 * (1 + math.cos(math.pi * done))
    return RATE["peak"] * (RATE["final_share"] + (1 - RATE["final_share"]) * share)


def vary_vectors(model: torch.nn.Module) -> None:
    """Norms and biases start as ones and zeros, which would hide that one is left out or swapped."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            low, high = (-0.2, 0.2) if name.endswith("bias") else (0.5, 1.5)
            parameter.data.uniform_(low, high)


def logits_of(model: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    positions = torch.arange(inputs.shape[1]).expand_as(inputs)
    return model(input_ids=inputs, position_ids=positions, use_cache=False).logits


def loss_of(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    targets = tokens[:, 1:].reshape(-1)
    return torch.nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), targets)


def rounded(value: torch.Tensor) -> float:
    return float(f"{value.item():.10g}")


@torch.no_grad()
def initial_outputs(model: torch.nn.Module) -> tuple[torch.Tensor, float]:
    """The logits of batch 0, and its loss where each row is two documents."""
    tokens = batch(0)
    inputs = tokens[:, :-1]
    pieces = [logits_of(model, piece) for piece in inputs.split(DOCUMENT_LENGTHS, dim=1)]
    return logits_of(model, inputs), rounded(loss_of(torch.cat(pieces, dim=1), tokens))


def train(model: torch.nn.Module) -> tuple[list[float], list[float]]:
    """The loss and the gradient norm before clipping of each step."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [
        {"params": matrices, "weight_decay": ADAMW["weight_decay"]},
        {"params": vectors, "weight_decay": 0.0},
    ]
    betas = (ADAMW["beta1"], ADAMW["beta2"])
    optimizer = torch.optim.AdamW(groups, betas=betas, eps=ADAMW["epsilon"])
    losses, norms = [], []
    for step in range(STEPS):
        tokens = batch(step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.zero_grad()
        loss = loss_of(logits_of(model, tokens[:, :-1]), tokens)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), ADAMW["clip"])
        optimizer.step()
        losses.append(rounded(loss))
        norms.append(rounded(norm))
    return losses, norms


def write(family: str, folder: Path) -> None:
    torch.manual_seed(1)
    model = FAMILIES[family]().float().train()
    vary_vectors(model)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    logits, document_loss = initial_outputs(model)
    save_file({"logits": logits.contiguous()}, folder / "logits.safetensors")
    losses, norms = train(model)
    curve = {
        "made_with": f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}",
        "rows": ROWS,
        "length": LENGTH,
        "first_tokens": batch(0)[0, :8].tolist(),
        "learning_rate": RATE,
        "adamw": ADAMW,
        "losses": losses,
        "gradient_norms": norms,
        "document_lengths": DOCUMENT_LENGTHS,
        "document_loss": document_loss,
    }
    (folder / "curve.json").write_text(json.dumps(curve, indent=2) + "\n")
    print(f"{family}: loss {losses[0]} to {losses[-1]}, document loss {document_loss}, norm up to {max(norms)}")


def main(folder: Path, families: list[str]) -> None:
    torch.set_num_threads(1)
    for family in families or FAMILIES:
        write(family, folder / family)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
