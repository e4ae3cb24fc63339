"""Hugging Face's Trainer in the mixture's order.

Trainer shuffles by default, which would undo the exact shares (mixdown warns of it): take
``train_sampling_strategy="sequential"``. The model shifts the labels itself, hence ``labels="hf"``. It skips what
it has trained on when it resumes; that costs no reading.
"""

import os

from transformers import Trainer, TrainingArguments

import mixdown


def train(model, mixture, steps, out, **options):
    """Trains for some steps of the mixture; ``options`` are more of TrainingArguments'."""
    dataset = mixdown.MixtureDataset(mixture, steps, labels="hf")
    arguments = TrainingArguments(
        output_dir=out,
        max_steps=dataset.steps,
        per_device_train_batch_size=dataset.mixture.batch_size // int(os.environ.get("WORLD_SIZE", "1")),
        train_sampling_strategy="sequential",
        report_to="none",
        **options,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=dataset, data_collator=mixdown.collate)
    trainer.train(resume_from_checkpoint=options.get("resume_from_checkpoint"))
    return trainer
