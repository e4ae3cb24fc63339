"""JAX with Grain, which reads whole steps by their number, in the mixture's order.

python grain_jax.py MIX.toml --steps=100 --workers=2
"""

import grain.python as grain
import jax
import jax.numpy as jnp
from absl import app, flags

import mixdown


class Steps:
    """A RandomAccessDataSource whose records are a rank's batches: Grain's workers would take the samples of
    a batch from all over the run."""

    def __init__(self, dataset, rank=0, world_size=1):
        self.dataset, self.rank, self.world_size = dataset, rank, world_size

    def __len__(self):
        return self.dataset.steps

    def __getitem__(self, step):
        return self.dataset.batch(step, self.rank, self.world_size)


def loader_of(mixture, steps, workers=0):
    """Batches of the mixture's run as NumPy arrays, read by Grain's workers."""
    options = {"format": "numpy", "dtype": "int32", "fields": ["step_targets"]}
    dataset = mixdown.MixtureDataset(mixture, steps, **options)
    rank, world_size = jax.process_index(), jax.process_count()
    sampler = grain.IndexSampler(
        num_records=dataset.steps, shard_options=grain.NoSharding(), shuffle=False, num_epochs=1
    )
    source = Steps(dataset, rank, world_size)
    return grain.DataLoader(data_source=source, sampler=sampler, operations=[], worker_count=workers)


@jax.jit
def step(table, input_ids, labels, step_targets):
    """One step of gradient descent on a table of bigrams."""

    def loss(table):
        log_probabilities = jax.nn.log_softmax(table[input_ids])
        # Labels that do not count are -100. A process' sum is divided by the targets of the whole step.
        counts = labels >= 0
        target = jnp.where(counts, labels, 0)[..., None]
        losses = -jnp.take_along_axis(log_probabilities, target, axis=-1)[..., 0]
        return jnp.where(counts, losses, 0).sum() / jnp.maximum(step_targets, 1)

    value, gradient = jax.value_and_grad(loss)(table)
    return table - gradient, value


def train(mixture, steps, workers=0):
    """Trains for some steps of the mixture and yields the losses."""
    table = jnp.zeros((mixture.vocab_size, mixture.vocab_size))
    for batch in loader_of(mixture, steps, workers):
        table, loss = step(table, batch["input_ids"], batch["labels"], batch["step_targets"][0])
        yield float(loss)


def main(arguments):
    mixture = mixdown.Mixture(arguments[1])
    for number, loss in enumerate(train(mixture, STEPS.value, WORKERS.value)):
        print(f"step {number}: loss {loss:.5f}", flush=True)


if __name__ == "__main__":
    # Grain's workers read absl's flags, which app.run parses.
    STEPS = flags.DEFINE_integer("steps", 20, "the run's length in steps")
    WORKERS = flags.DEFINE_integer("workers", 0, "Grain's worker processes")
    app.run(main)
