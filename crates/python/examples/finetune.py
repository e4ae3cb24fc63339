"""Finetunes a Hugging Face model in plain PyTorch on a target corpus with a share of pretraining data.

    python finetune.py --model gpt2 --target corpora/math --pretraining corpora/general --inject 1% --out run

Prints both held-out losses before and after, and what was forgotten. A stopped run continues when the same command
is given again, with any number of workers: the batches are the same. Without --model a small Llama with random
weights is trained. For several processes see ddp.py.
"""

import argparse
import json
import os
from decimal import Decimal
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import mixdown

#: The label of a target that does not count.
IGNORED = -100


def mixture_of(options):
    """The target with a share p of pretraining data, exact at every step."""
    sources = {"target": (options.target, f"{100 - options.inject}%")}
    if options.inject > 0:
        sources["pretraining"] = (options.pretraining, f"{options.inject}%")
    return mixdown.Mixture(
        sequence_length=options.sequence_length, batch_size=options.batch_size, seed=options.seed, sources=sources
    )


def model_of(options):
    if options.model is not None:
        return AutoModelForCausalLM.from_pretrained(options.model)
    torch.manual_seed(options.seed)
    config = LlamaConfig(
        vocab_size=mixdown.Corpus(options.pretraining).vocab_size,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=options.sequence_length,
    )
    return LlamaForCausalLM(config)


@torch.no_grad()
def held_out_loss(model, corpus, options):
    """The mean loss in nats over the targets of the first held-out windows."""
    ids, labels = (windows[: options.eval_sequences] for windows in held_out_windows(corpus, options.sequence_length))
    model.eval()
    parts = zip(ids.split(options.batch_size), labels.split(options.batch_size))
    total = sum(loss_of(model, part[:, :-1], targets[:, 1:]).item() for part, targets in parts)
    return total / int((labels[:, 1:] != IGNORED).sum())


def held_out_windows(corpus, length):
    """All held-out windows of a corpus, (windows, length + 1): ids, and labels that spare what is masked."""
    documents = mixdown.Corpus(corpus, "holdout")
    ids = np.concatenate(list(documents)).astype(np.int64)
    labels = ids.copy()
    if documents.is_labelled:
        labels[np.concatenate([documents.loss_mask(number) for number in range(len(documents))]) == 0] = IGNORED
    return (torch.from_numpy(array).unfold(0, length + 1, length) for array in (ids, labels))


def loss_of(model, input_ids, labels):
    """The sum of the losses of all targets."""
    logits = model(input_ids=input_ids).logits.flatten(0, 1).float()
    return torch.nn.functional.cross_entropy(logits, labels.flatten(), ignore_index=IGNORED, reduction="sum")


def train(model, options):
    """Trains from the last checkpoint, if there is one, and yields step and loss."""
    dataset = mixdown.MixtureDataset(mixture_of(options), options.steps, fields=["step_targets"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=0.1)
    checkpoint = Path(options.out) / "checkpoint.pt"
    start = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        # Refused, with the difference named, where the mixture is another one.
        start = dataset.step_of(saved["data"])
    sampler = mixdown.StepSampler(dataset, start=start)
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=options.workers, collate_fn=mixdown.collate)
    for step, batch in enumerate(loader, start):
        model.train()
        loss = loss_of(model, batch["input_ids"], batch["labels"]) / batch["step_targets"][0].clamp(min=1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            save(checkpoint, {**state, "data": dataset.state_at(step + 1)})
        yield step, loss.item()


def save(path, state):
    """By rename: a checkpoint is whole or not there."""
    torch.save(state, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a Hugging Face folder or name; without it a small fresh model")
    parser.add_argument("--target", required=True, help="the corpus to learn")
    parser.add_argument("--pretraining", required=True, help="the corpus not to forget")
    parser.add_argument("--inject", default="1%", help="p, the share of pretraining data (default 1%%)")
    parser.add_argument("--out", required=True, help="the folder of the run")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--sequence-length", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=50)
    parser.add_argument("--eval-sequences", type=int, default=64)
    options = parser.parse_args(arguments)
    options.inject = Decimal(options.inject.removesuffix("%"))
    Path(options.out).mkdir(parents=True, exist_ok=True)

    model = model_of(options)
    corpora = {"target": options.target, "pretraining": options.pretraining}
    before = {name: held_out_loss(model, corpus, options) for name, corpus in corpora.items()}
    for step, loss in train(model, options):
        if (step + 1) % 10 == 0:
            print(f"step {step + 1} of {options.steps}: loss {loss:.4f}", flush=True)
    after = {name: held_out_loss(model, corpus, options) for name, corpus in corpora.items()}
    model.save_pretrained(options.out)
    for name in corpora:
        print(f"{name} loss: {before[name]:.4f} before, {after[name]:.4f} after")
    print(f"forgetting: {after['pretraining'] - before['pretraining']:+.4f} nats/token")
    with open(Path(options.out) / "losses.json", "w") as file:
        json.dump({"inject": float(options.inject) / 100, "before": before, "after": after}, file)


if __name__ == "__main__":
    main()
