"""Accelerate in the mixture's order, on any number of processes.

The loader is not given to ``prepare``: StepSampler gives each process its part already.
"""

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

import mixdown


def train(model, mixture, steps, workers=0, state=None):
    """Trains for some steps of the mixture and returns the state to go on from."""
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    dataset = mixdown.MixtureDataset(mixture, steps)
    rank, world_size = accelerator.process_index, accelerator.num_processes
    sampler = mixdown.StepSampler(dataset, rank, world_size, state or 0)
    options = {"num_workers": workers, "pin_memory": torch.cuda.is_available()}
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=mixdown.collate, **options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model, optimizer = accelerator.prepare(model, optimizer)
    for batch in loader:
        inputs, labels = (batch[name].to(accelerator.device, non_blocking=True) for name in ("input_ids", "labels"))
        loss = torch.nn.functional.cross_entropy(model(inputs).flatten(0, 1), labels.flatten())
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    return dataset.state_at(dataset.steps)
