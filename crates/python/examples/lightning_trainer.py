"""Lightning in the mixture's order, on any number of processes.

``use_distributed_sampler=False`` keeps Lightning from replacing the sampler by one of its own.
"""

import lightning
import torch
from torchdata.stateful_dataloader import StatefulDataLoader

import mixdown


class Mixed(lightning.LightningDataModule):
    """The mixture as a data module. Lightning keeps the loader's state in its checkpoints, which is the same
    on every rank and for every number of them."""

    def __init__(self, mixture, steps, workers=0):
        super().__init__()
        self.dataset = mixdown.MixtureDataset(mixture, steps)
        self.workers = workers

    def train_dataloader(self):
        sampler = mixdown.StepSampler(self.dataset, self.trainer.global_rank, self.trainer.world_size)
        options = {"num_workers": self.workers, "collate_fn": mixdown.collate}
        return StatefulDataLoader(self.dataset, batch_sampler=sampler, **options)


class LanguageModel(lightning.LightningModule):
    def __init__(self, model, learning_rate=1e-3):
        super().__init__()
        self.model = model
        self.learning_rate = learning_rate

    def training_step(self, batch, _):
        logits = self.model(batch["input_ids"])
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.learning_rate)


def train(model, mixture, steps, checkpoint=None, **options):
    """Trains for some steps of the mixture; ``options`` are more of Lightning's Trainer's."""
    trainer = lightning.Trainer(use_distributed_sampler=False, max_epochs=1, **options)
    trainer.fit(LanguageModel(model), datamodule=Mixed(mixture, steps), ckpt_path=checkpoint, weights_only=False)
    return trainer
