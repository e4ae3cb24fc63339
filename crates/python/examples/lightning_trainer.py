"""Lightning in the mixture's order, on any number of processes, with gradient accumulation.

``use_distributed_sampler=False`` keeps Lightning from replacing the sampler.

python lightning_trainer.py MIX.toml --steps 20 --processes 2 --accumulation 4
"""

import argparse

import lightning
import torch
from torchdata.stateful_dataloader import StatefulDataLoader

import mixdown


class Mixed(lightning.LightningDataModule):
    """The mixture as a data module, whose state goes into Lightning's checkpoints: the same on every rank and for
    every number of them. The loader has a state, too, but Lightning restores it too late if something asks for
    the loader before the run continues, such as ``trainer.estimated_stepping_batches``."""

    def __init__(self, mixture, steps, workers=0):
        super().__init__()
        self.dataset = mixdown.MixtureDataset(mixture, steps, fields=["step_targets"])
        self.workers = workers
        self.start = 0

    def train_dataloader(self):
        trainer = self.trainer
        options = {"start": self.start, "accumulation": trainer.accumulate_grad_batches}
        sampler = Remaining(self.dataset, trainer.global_rank, trainer.world_size, **options)
        options = {"num_workers": self.workers, "collate_fn": mixdown.collate}
        return StatefulDataLoader(self.dataset, batch_sampler=sampler, **options)

    def state_dict(self):
        return self.dataset.state_at(self.trainer.global_step)

    def load_state_dict(self, state):
        self.start = self.dataset.step_of(state)


class Remaining(mixdown.StepSampler):
    """The batches that remain. Lightning counts on from those that a checkpoint has behind it, so the length is
    that of the whole run."""

    def __len__(self):
        return self.dataset.steps * self.accumulation


class LanguageModel(lightning.LightningModule):
    def __init__(self, model, learning_rate=1e-3):
        super().__init__()
        self.model = model
        self.learning_rate = learning_rate

    def training_step(self, batch, _):
        logits = self.model(batch["input_ids"]).flatten(0, 1)
        total = torch.nn.functional.cross_entropy(logits, batch["labels"].flatten(), reduction="sum")
        # Lightning takes the mean over processes and micro-batches; the sum divided by the step's targets is meant.
        parts = self.trainer.world_size * self.trainer.accumulate_grad_batches
        return total * parts / batch["step_targets"][0].clamp(min=1)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.learning_rate)


def train(model, mixture, steps, checkpoint=None, **options):
    """Trains for some steps of the mixture; ``options`` are more of Lightning's Trainer's."""
    trainer = lightning.Trainer(use_distributed_sampler=False, max_epochs=1, **options)
    trainer.fit(LanguageModel(model), datamodule=Mixed(mixture, steps), ckpt_path=checkpoint, weights_only=False)
    return trainer


class Losses(lightning.Callback):
    """The mean loss of each step's targets."""

    def __init__(self):
        self.losses = []
        self.parts = []

    def on_train_batch_end(self, trainer, module, outputs, batch, number):
        self.parts.append(trainer.strategy.reduce(outputs["loss"].detach(), reduce_op="mean").item())
        if len(self.parts) == trainer.accumulate_grad_batches:
            self.losses.append(sum(self.parts))
            self.parts.clear()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mixture", help="a MIX.toml")
    parser.add_argument("--steps", default="20", help='steps, or such as "1B tokens"')
    parser.add_argument("--accumulation", type=int, default=1, help="micro-batches a step, on each process")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    mixture = mixdown.Mixture(options.mixture)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(mixture.vocab_size, 16), torch.nn.Linear(16, mixture.vocab_size))
    losses = Losses()
    trainer = train(
        model,
        mixture,
        options.steps,
        callbacks=[losses],
        devices=options.processes,
        accumulate_grad_batches=options.accumulation,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    if trainer.is_global_zero:
        for step, loss in enumerate(losses.losses):
            print(f"step {step}: loss {loss:.4f}", flush=True)


if __name__ == "__main__":
    main()
