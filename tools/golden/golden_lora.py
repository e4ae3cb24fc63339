"""Makes testdata/train/lora: adapters of low rank over the tiny models of testdata/train, by PEFT.

For each family a PEFT adapter of random A and B over all linears, and its training by PyTorch in f32 on
one thread on the batches, learning rates and optimizer of golden_models.py.

    OMP_NUM_THREADS=1 python tools/golden/golden_lora.py testdata/train

Needs torch, transformers, safetensors and peft. Writes in lora/FAMILY adapter_config.json and
adapter_model.safetensors (before the first step) and curve.json: losses and gradient norms of A and B
before clipping, and `last_loss` on batch 0 after the last step.

What each family is for: gpt2 has transposed matrices, llama fused ones of several modules, pythia rows
of queries, keys and values that are interleaved by heads.
"""

import json
import sys
from pathlib import Path

import peft
import torch
from golden_models import ADAMW, batch, learning_rate, logits_of, loss_of, rounded
from transformers import AutoModelForCausalLM

RANK, ALPHA, STEPS = 4, 6, 12
TARGETS = {
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "pythia": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
}


def adapted(folder: Path, targets: list[str]) -> peft.PeftModel:
    torch.manual_seed(2)
    base = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").float()
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=RANK,
        lora_alpha=ALPHA,
        target_modules=targets,
        # B is random too: with zeros a swap of A and B would show only later.
        init_lora_weights=False,
        fan_in_fan_out=folder.name == "gpt2",
    )
    return peft.get_peft_model(base, config).train()


def train(model: peft.PeftModel) -> tuple[list[float], list[float]]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    betas = (ADAMW["beta1"], ADAMW["beta2"])
    optimizer = torch.optim.AdamW(trained, betas=betas, eps=ADAMW["epsilon"], weight_decay=ADAMW["weight_decay"])
    losses, norms = [], []
    for step in range(STEPS):
        tokens = batch(step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.zero_grad()
        loss = loss_of(logits_of(model, tokens[:, :-1]), tokens)
        loss.backward()
        norms.append(rounded(torch.nn.utils.clip_grad_norm_(trained, ADAMW["clip"])))
        losses.append(rounded(loss))
        optimizer.step()
    return losses, norms


def write(family: str, root: Path) -> None:
    folder = root / "lora" / family
    model = adapted(root / family, TARGETS[family])
    model.peft_config["default"].base_model_name_or_path = f"../../{family}"
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    losses, norms = train(model)
    with torch.no_grad():
        last_loss = rounded(loss_of(logits_of(model, batch(0)[:, :-1]), batch(0)))
    curve = {
        "made_with": f"torch {torch.__version__.split('+')[0]}, peft {peft.__version__}",
        "rank": RANK,
        "alpha": ALPHA,
        "targets": TARGETS[family],
        "losses": losses,
        "gradient_norms": norms,
        "last_loss": last_loss,
    }
    (folder / "curve.json").write_text(json.dumps(curve, indent=2) + "\n")
    print(f"{family}: loss {losses[0]} to {losses[-1]}, norm up to {max(norms)}")


def main(root: Path) -> None:
    torch.set_num_threads(1)
    for family in TARGETS:
        write(family, root)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
