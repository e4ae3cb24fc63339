"""Exact, deterministic mixtures of token corpora for any trainer.

>>> import mixdown
>>> mixture = mixdown.Mixture(
...     sequence_length=1024, batch_size=64, seed=7,
...     sources={"math": ("corpora/math", "99%"), "general": ("corpora/general", "1%")},
... )
>>> dataset = mixdown.MixtureDataset(mixture, steps="1B tokens")
>>> for batch in dataset.batches():
...     loss = train_step(batch["input_ids"], batch["labels"])
"""

from mixdown._mixdown import __version__
from mixdown.corpus import Corpus
from mixdown.dataset import Batches, MixtureDataset, Samples, StepSampler, collate, collate_by_slot
from mixdown.errors import (
    ConfigurationError,
    DataError,
    MixdownError,
    NotFoundError,
    OrderWarning,
    SystemFailure,
)
from mixdown.mixture import Mixture
from mixdown.preparing import prepare

__all__ = [
    "Batches",
    "ConfigurationError",
    "Corpus",
    "DataError",
    "MixdownError",
    "Mixture",
    "MixtureDataset",
    "NotFoundError",
    "OrderWarning",
    "Samples",
    "StepSampler",
    "SystemFailure",
    "__version__",
    "collate",
    "collate_by_slot",
    "prepare",
]
