"""Hugging Face's Trainer in the mixture's order, on any number of processes, with gradient accumulation.

Trainer shuffles by default, which would undo the exact shares (mixdown warns of it): take
``train_sampling_strategy="sequential"``. The model shifts the labels itself, hence ``labels="hf"``. An optimizer
step takes ``gradient_accumulation_steps`` batches on each process, so each of them has a part of the mixture's
batch. Trainer skips what it has trained on when it resumes; that costs no reading.

torchrun --nproc-per-node 2 huggingface_trainer.py MIX.toml --model gpt2 --steps 20 --accumulation 4 --out run
"""

import argparse
import os

import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

import mixdown


def train(model, mixture, steps, out, gradient_accumulation_steps=1, **options):
    """Trains for some steps of the mixture; ``options`` are more of TrainingArguments'."""
    dataset = mixdown.MixtureDataset(mixture, steps, labels="hf")
    parts = int(os.environ.get("WORLD_SIZE", "1")) * gradient_accumulation_steps
    if dataset.mixture.batch_size % parts:
        raise ValueError(
            f"batch_size: expected a multiple of {parts}, the processes times gradient_accumulation_steps, "
            f"got {dataset.mixture.batch_size}"
        )
    defaults = {
        "train_sampling_strategy": "sequential",
        "report_to": "none",
        # Without this, processes on a machine without a GPU would not form a group.
        "use_cpu": not torch.cuda.is_available(),
        # Labels of the whole step divide the loss, not those of each process.
        "average_tokens_across_devices": True,
    }
    arguments = TrainingArguments(
        output_dir=out,
        max_steps=dataset.steps,
        per_device_train_batch_size=dataset.mixture.batch_size // parts,
        gradient_accumulation_steps=gradient_accumulation_steps,
        **{**defaults, **options},
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=dataset, data_collator=mixdown.collate)
    trainer.train(resume_from_checkpoint=options.get("resume_from_checkpoint"))
    return trainer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mixture", help="a MIX.toml")
    parser.add_argument("--model", required=True, help="a Hugging Face folder or name")
    parser.add_argument("--steps", default="20", help='steps, or such as "1B tokens"')
    parser.add_argument("--accumulation", type=int, default=1, help="micro-batches a step, on each process")
    parser.add_argument("--out", required=True, help="the folder of the run")
    options = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(options.model)
    trainer = train(
        model, options.mixture, options.steps, options.out, options.accumulation, logging_steps=1, save_strategy="no"
    )
    if trainer.is_world_process_zero():
        for record in trainer.state.log_history:
            if "loss" in record:
                print(f"step {record['step'] - 1}: loss {float(record['loss']):.4f}", flush=True)


if __name__ == "__main__":
    main()
