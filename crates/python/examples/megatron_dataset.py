"""A dataset for Megatron: samples like those of Megatron-core's GPTDataset.

Give it to Megatron as the train dataset (``train_valid_test_datasets_provider`` returns it) with
``dataloader_type="single"``, whose sampler takes samples in ascending order and gives each data-parallel
rank its part. No index is built and nothing is cached, so ranks cannot race.
"""

import torch

import mixdown


class MegatronDataset(torch.utils.data.Dataset):
    """Samples of a mixture's run with Megatron's names."""

    def __init__(self, mixture, steps, reset_position_ids=False):
        fields = ["loss_mask", *(["position_ids"] if reset_position_ids else [])]
        self.dataset = mixdown.MixtureDataset(mixture, steps, fields=fields)
        self.positions = torch.arange(self.dataset.mixture.sequence_length)

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, slot):
        sample = self.dataset[slot]
        # Megatron multiplies masked losses by 0, so their labels must be ids, not -100.
        return {
            "tokens": sample["input_ids"].contiguous(),
            "labels": sample["labels"].clamp(min=0),
            "loss_mask": sample["loss_mask"].float(),
            "position_ids": sample.get("position_ids", self.positions),
        }
