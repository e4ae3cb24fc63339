"""Feeds torchrun: every process takes its part of each batch, on any number of processes.

torchrun --nproc-per-node 2 ddp.py MIX.toml --steps 20
"""

import argparse

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import mixdown


def train(model, mixture, steps, state=None):
    """Trains and yields the mean loss of each step; the same for every number of processes."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    dataset = mixdown.MixtureDataset(mixture, steps)
    model = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    # Threads make the batches ahead: no DataLoader is needed. A state may come from another world size.
    for batch in dataset.batches(rank, world_size, start=state or 0):
        logits = model(batch["input_ids"])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        yield mean.item() / world_size


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mixture", help="a MIX.toml")
    parser.add_argument("--steps", default="20", help='steps, or such as "1B tokens"')
    options = parser.parse_args()
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    mixture = mixdown.Mixture(options.mixture, check=dist.get_rank() == 0)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(mixture.vocab_size, 16), torch.nn.Linear(16, mixture.vocab_size))
    for step, loss in enumerate(train(model, mixture, options.steps)):
        if dist.get_rank() == 0:
            print(f"step {step}: loss {loss:.5f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
