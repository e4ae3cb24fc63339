"""One run of `mixdown sweep` in plain PyTorch: what `command = "python sweep_trainer.py {run}"` calls.

    python sweep_trainer.py sweeps/math/runs/math-5M-100k-1pct-seed0/run.json

The run file says which model to finetune, on which mixture, for how many steps at most, what to measure and how
often. The losses of the step with the least target loss go into the file that it names as `row`.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

import mixdown

#: The label of a target that does not count.
IGNORED = -100


def loss_of(model, input_ids, labels):
    """The sum of the losses of all targets."""
    logits = model(input_ids=input_ids).logits.flatten(0, 1).float()
    return torch.nn.functional.cross_entropy(logits, labels.flatten(), ignore_index=IGNORED, reduction="sum")


def held_out_windows(corpus, length):
    """All held-out windows of a corpus, (windows, length + 1): ids, and labels that spare what is masked."""
    documents = mixdown.Corpus(corpus["corpus"], corpus["split"])
    ids = np.concatenate(list(documents)).astype(np.int64)
    labels = ids.copy()
    if documents.is_labelled:
        labels[np.concatenate([documents.loss_mask(number) for number in range(len(documents))]) == 0] = IGNORED
    return (torch.from_numpy(array).unfold(0, length + 1, length) for array in (ids, labels))


@torch.no_grad()
def held_out_losses(model, run):
    """By name of the corpus the mean loss in nats over the targets of the first held-out windows."""
    length, most = run["mixture"]["sequence_length"], run["eval"]["sequences"]
    losses = {}
    model.eval()
    for corpus in run["eval"]["corpus"]:
        ids, labels = (windows[:most] for windows in held_out_windows(corpus, length))
        rows = run["mixture"]["batch_size"]
        parts = zip(ids.split(rows), labels.split(rows))
        total = sum(loss_of(model, part[:, :-1], targets[:, 1:]).item() for part, targets in parts)
        losses[corpus["name"]] = total / int((labels[:, 1:] != IGNORED).sum())
    model.train()
    return losses


def finetune(run):
    """Trains until the target's loss has not fallen for a while; its row."""
    train, target = run["train"], run["eval"]["select"]
    torch.manual_seed(run["seed"])
    model = AutoModelForCausalLM.from_pretrained(run["model"]["init"], dtype=torch.float32)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=train["learning_rate"],
        betas=(train["beta1"], train["beta2"]),
        weight_decay=train["weight_decay"],
    )
    mixture = mixdown.Mixture(run["mixture"])
    dataset = mixdown.MixtureDataset(mixture, train["steps"], fields=["step_targets"])
    before = held_out_losses(model, run)
    best, best_step, late = before, 0, 0
    for step, batch in enumerate(dataset.batches(), 1):
        # This trainer knows the constant schedule alone.
        rate = train["learning_rate"] * min(1, step / max(1, train["warmup_steps"]))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(model, batch["input_ids"], batch["labels"]) / batch["step_targets"][0].clamp(min=1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), train["clip"])
        optimizer.step()
        optimizer.zero_grad()
        if step % run["eval"]["every_steps"] == 0 or step == train["steps"]:
            losses = held_out_losses(model, run)
            if losses[target] < best[target]:
                best, best_step, late = losses, step, 0
            else:
                late += 1
            print(f"step {step} of {train['steps']}: {losses}", flush=True)
        if late >= train["patience"]:
            break
    parameters = sum(parameter.numel() for parameter in model.parameters())
    embedding = model.get_input_embeddings().weight.numel()
    return {
        "model_size": parameters,
        "non_embedding_parameters": parameters - embedding,
        "p_realised": realised(mixture, best_step, run),
        "best_step": best_step,
        "target_loss": best[target],
        "pretraining_loss": best[run["eval"]["pretraining"]],
        "pretraining_loss_before": before[run["eval"]["pretraining"]],
        "evaluation_tokens": run["eval"]["sequences"] * mixture.sequence_length,
        "optimizer": "adamw",
        "method": "full",
    }


def realised(mixture, step, run):
    """The share of pretraining sequences up to a step."""
    name = run["eval"]["pretraining"]
    if step == 0 or name not in mixture.sources:
        return run["p_requested"]
    sources = mixture.order(0, step * mixture.batch_size)["source"]
    return float((sources == mixture.sources.index(name)).mean())


def main(arguments):
    (path,) = arguments
    run = json.loads(Path(path).read_text(encoding="utf-8"))
    # JSON has no NaN: a run that diverged ends here, with an error that the sweep records.
    text = json.dumps(finetune(run), allow_nan=False)
    part = Path(run["row"] + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, run["row"])


if __name__ == "__main__":
    main(sys.argv[1:])
