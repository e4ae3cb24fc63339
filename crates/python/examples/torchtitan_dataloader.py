"""A dataloader for torchtitan: `dataloader=MixdownDataLoader.Config(mixture="mix.toml", steps="1B tokens")`.

Its state goes into torchtitan's checkpoints, is the same on every rank, and may be loaded by another
data-parallel degree, which torchtitan's own loader refuses.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torchtitan.components.dataloader import BaseDataLoader

import mixdown


class MixdownDataLoader(BaseDataLoader):
    """A rank's part of every batch of a mixture's run."""

    @dataclass(kw_only=True, slots=True)
    class Config(BaseDataLoader.Config):
        mixture: str = "mix.toml"
        """Path of the mixture's description."""
        steps: str = "1B tokens"
        """The run's length."""
        threads: int = 1
        """Threads that make batches."""

    def __init__(self, config: Config, *, dp_world_size, dp_rank, seq_len, local_batch_size, **_):
        self.dataset = mixdown.MixtureDataset(config.mixture, config.steps, fields=["position_ids"])
        mixture = self.dataset.mixture
        shape = (mixture.sequence_length, mixture.batch_size)
        if shape != (seq_len, local_batch_size * dp_world_size):
            raise ValueError(
                f"{config.mixture}: expected sequence_length {seq_len} and batch_size "
                f"{local_batch_size * dp_world_size} (as torchtitan's), got {shape[0]} and {shape[1]}"
            )
        self.rank, self.world_size, self.threads = dp_rank, dp_world_size, config.threads
        self.state = self.dataset.state_at(0)

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        batches = self.dataset.batches(self.rank, self.world_size, self.state, threads=self.threads)
        for batch in batches:
            self.state = batches.state_dict()
            yield {"input": batch["input_ids"], "positions": batch["position_ids"]}, batch["labels"]

    def state_dict(self) -> dict[str, Any]:
        return {"run": self.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict:
            self.state = state_dict["run"]
            self.dataset.step_of(self.state)
