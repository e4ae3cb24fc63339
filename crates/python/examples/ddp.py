"""Feeds torchrun: every process takes its part of each batch, on any number of processes.

torchrun --nproc-per-node 2 ddp.py MIX.toml --steps 20 --accumulation 4
"""

import argparse
import contextlib
import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import mixdown


def train(model, mixture, steps, state=None, accumulation=1):
    """Trains and yields the mean loss of each step's targets; the same for any number of processes and any
    accumulation, with masked labels too."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    device = next(model.parameters()).device
    dataset = mixdown.MixtureDataset(mixture, steps, fields=["step_targets"])
    model = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    # Threads make the batches ahead: no DataLoader is needed. A state may come from another world size.
    for batch in dataset.batches(rank, world_size, start=state or 0):
        total = torch.zeros((), device=device)
        optimizer.zero_grad()
        inputs, labels = (batch[name].to(device, non_blocking=True) for name in ("input_ids", "labels"))
        parts = list(zip(inputs.chunk(accumulation), labels.chunk(accumulation)))
        for number, (inputs, labels) in enumerate(parts, 1):
            # Gradients are averaged over the processes once, with the last part.
            with contextlib.nullcontext() if number == len(parts) else model.no_sync():
                logits = model(inputs)
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
                # A process may hold few targets or none: the sum over all is divided by those of the whole step.
                # DDP takes the mean of the gradients, hence the number of processes.
                loss = loss / batch["step_targets"][0].clamp(min=1).item()
                (loss * world_size).backward()
                total += loss.detach()
        optimizer.step()
        dist.all_reduce(total)
        yield total.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mixture", help="a MIX.toml")
    parser.add_argument("--steps", default="20", help='steps, or such as "1B tokens"')
    parser.add_argument("--accumulation", type=int, default=1, help="micro-batches a step, on each process")
    options = parser.parse_args()
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    mixture = mixdown.Mixture(options.mixture, check=dist.get_rank() == 0)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(mixture.vocab_size, 16), torch.nn.Linear(16, mixture.vocab_size))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        model.cuda()
    for step, loss in enumerate(train(model, mixture, options.steps, accumulation=options.accumulation)):
        if dist.get_rank() == 0:
            print(f"step {step}: loss {loss:.4f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
