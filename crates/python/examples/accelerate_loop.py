"""Accelerate in the mixture's order, on any number of processes, with gradient accumulation.

The loader is not given to ``prepare``: StepSampler gives each process its part already.

accelerate launch --num-processes 2 accelerate_loop.py MIX.toml --steps 20 --accumulation 4
"""

import argparse

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

import mixdown


def train(model, mixture, steps, workers=0, state=None, accumulation=1, losses=None):
    """Trains for some steps of the mixture and returns the state to continue from. ``losses``, a list, gets the
    mean loss of each step's targets: the same for any number of processes and any accumulation."""
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), gradient_accumulation_steps=accumulation)
    dataset = mixdown.MixtureDataset(mixture, steps, fields=["step_targets"])
    rank, world_size = accelerator.process_index, accelerator.num_processes
    sampler = mixdown.StepSampler(dataset, rank, world_size, state or 0, accumulation)
    options = {"num_workers": workers, "pin_memory": torch.cuda.is_available()}
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=mixdown.collate, **options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model, optimizer = accelerator.prepare(model, optimizer)
    total = torch.zeros((), device=accelerator.device)
    for batch in loader:
        with accelerator.accumulate(model):
            inputs, labels = (batch[name].to(accelerator.device, non_blocking=True) for name in ("input_ids", "labels"))
            logits = model(inputs).flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits, labels.flatten(), reduction="sum")
            loss = loss / batch["step_targets"][0].clamp(min=1).item()
            # Accelerate takes the mean over processes and micro-batches; the sum is meant.
            accelerator.backward(loss * world_size * accumulation)
            optimizer.step()
            optimizer.zero_grad()
        total += loss.detach()
        if accelerator.sync_gradients:
            if losses is not None:
                losses.append(accelerator.reduce(total, "sum").item())
            total.zero_()
    return dataset.state_at(dataset.steps)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mixture", help="a MIX.toml")
    parser.add_argument("--steps", default="20", help='steps, or such as "1B tokens"')
    parser.add_argument("--accumulation", type=int, default=1, help="micro-batches a step, on each process")
    options = parser.parse_args()
    mixture = mixdown.Mixture(options.mixture)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(mixture.vocab_size, 16), torch.nn.Linear(16, mixture.vocab_size))
    losses = []
    train(model, mixture, options.steps, accumulation=options.accumulation, losses=losses)
    if Accelerator().is_main_process:
        for step, loss in enumerate(losses):
            print(f"step {step}: loss {loss:.4f}", flush=True)


if __name__ == "__main__":
    main()
