"""PyTorch: DataLoader with workers, states of torchdata's StatefulDataLoader, both forms of labels."""

import json
import pickle
import warnings

import numpy as np
import pytest

import mixdown
from conftest import mixture_of

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader, Subset  # noqa: E402

T, B, STEPS = 32, 12, 20


@pytest.fixture
def dataset(mixture):
    return mixdown.MixtureDataset(mixture, STEPS, fields=["slot", "position_ids"])


def assert_same(batches, expected):
    batches = list(batches)
    assert len(batches) == len(expected) > 0
    for batch, other in zip(batches, expected):
        assert set(batch) == set(other)
        for name in batch:
            assert batch[name].dtype == other[name].dtype and torch.equal(batch[name], other[name]), name


def test_batches_are_tensors_without_a_copy(dataset):
    batch = next(dataset.batches())
    inputs, labels = batch["input_ids"], batch["labels"]
    assert inputs.dtype == labels.dtype == torch.int64 and inputs.shape == labels.shape == (B, T)
    assert labels.data_ptr() == inputs.data_ptr() + 8
    assert torch.equal(inputs[:, 1:], labels[:, :-1])
    assert mixdown.MixtureDataset(dataset.mixture, 1, dtype=torch.int32)[0]["labels"].dtype == torch.int32


@pytest.mark.filterwarnings("ignore:a second pass:mixdown.OrderWarning")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_data_loader_gives_the_order_of_the_run(dataset, workers):
    expected = list(dataset.batches())
    for collate in (mixdown.collate, None):
        loader = DataLoader(dataset, batch_size=B, num_workers=workers, collate_fn=collate)
        assert_same(loader, expected)


@pytest.mark.filterwarnings("ignore:a second pass:mixdown.OrderWarning")
@pytest.mark.parametrize(("workers", "context"), [(0, None), (1, "fork"), (3, "fork"), (2, "spawn")])
def test_batches_may_cross_as_their_slots(dataset, labeled, workers, context):
    options = {"num_workers": workers, "collate_fn": mixdown.collate_by_slot, "multiprocessing_context": context}
    for one in (dataset, mixdown.MixtureDataset(labeled, STEPS, labels="hf", fields=["cu_seqlens"])):
        for rank in range(2):
            loader = DataLoader(one, batch_sampler=mixdown.StepSampler(one, rank, 2), **options)
            assert_same(loader, list(one.batches(rank, 2)))
        copy = pickle.loads(pickle.dumps(one))
        del one
        assert_same(DataLoader(copy, batch_size=B, **options), list(copy.batches()))
    with pytest.raises(mixdown.ConfigurationError, match="got list: use"):
        mixdown.collate_by_slot([dataset[0]])


@pytest.mark.filterwarnings("ignore:a second pass:mixdown.OrderWarning")
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_workers_may_be_started_in_any_way_and_persist(dataset, context):
    expected = list(dataset.batches())
    sampler = mixdown.StepSampler(dataset)
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=2,
        collate_fn=mixdown.collate,
        multiprocessing_context=context,
        persistent_workers=True,
    )
    for _ in range(2):
        assert_same(loader, expected)


def test_a_sampler_gives_each_rank_its_part(dataset):
    for rank in range(3):
        sampler = mixdown.StepSampler(dataset, rank, 3, start=4)
        loader = DataLoader(dataset, batch_sampler=sampler, num_workers=2, collate_fn=mixdown.collate)
        assert len(loader) == STEPS - 4
        assert_same(loader, list(dataset.batches(rank, 3, 4)))


def test_shuffling_is_warned_of_and_keeping_the_order_is_not(dataset):
    with pytest.warns(mixdown.OrderWarning, match="StepSampler"):
        list(DataLoader(dataset, batch_size=B, shuffle=True))
    dataset = mixdown.MixtureDataset(dataset.mixture, STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(DataLoader(dataset, batch_sampler=mixdown.StepSampler(dataset, 1, 2), collate_fn=mixdown.collate))
        list(DataLoader(dataset, batch_size=B))


def test_a_subset_is_collated_as_usual(dataset):
    loader = DataLoader(Subset(dataset, range(2 * B)), batch_size=B, collate_fn=mixdown.collate)
    assert_same(loader, list(dataset.batches())[:2])


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_stateful_data_loader_goes_on_after_what_was_taken(dataset, workers):
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader

    def loader(rank, world_size, workers):
        sampler = mixdown.StepSampler(dataset, rank, world_size)
        options = {"num_workers": workers, "collate_fn": mixdown.collate}
        return stateful(dataset, batch_sampler=sampler, **options)

    first = loader(0, 1, workers)
    expected = list(dataset.batches())
    # Workers are some batches ahead of what is taken here.
    for (step, batch), other in zip(enumerate(first), expected):
        assert_same([batch], [other])
        if step == 6:
            break
    state = first.state_dict()
    again = loader(0, 1, workers)
    again.load_state_dict(state)
    assert_same(again, expected[7:])
    # The run's own state serves any world size and any number of workers.
    state = json.loads(json.dumps(dataset.state_at(7)))
    for rank in range(2):
        sampler = mixdown.StepSampler(dataset, rank, 2, state)
        resumed = stateful(dataset, batch_sampler=sampler, num_workers=1, collate_fn=mixdown.collate)
        assert_same(resumed, list(dataset.batches(rank, 2, 7)))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_of_one_world_size_is_loaded_by_another(dataset, workers):
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader

    def loader(rank, world_size):
        sampler = mixdown.StepSampler(dataset, rank, world_size)
        return stateful(dataset, batch_sampler=sampler, num_workers=workers, collate_fn=mixdown.collate)

    states = []
    for rank in range(2):
        one = loader(rank, 2)
        batches = iter(one)
        for _ in range(5):
            next(batches)
        states.append(one.state_dict())
    for rank in range(3):
        other = loader(rank, 3)
        other.load_state_dict(states[rank % 2])
        assert_same(other, list(dataset.batches(rank, 3, 5)))


def test_both_forms_of_labels_give_the_same_loss(corpora, labeled, mixture):
    transformers = pytest.importorskip("transformers")
    vocab_size = mixdown.Corpus(corpora / "math").vocab_size
    config = transformers.LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    for one_mixture in (mixture, labeled):
        shifted = mixdown.MixtureDataset(one_mixture, 3).batches()
        hf = mixdown.MixtureDataset(one_mixture, 3, labels="hf").batches()
        for one, other in zip(shifted, hf):
            with torch.no_grad():
                logits = model(input_ids=one["input_ids"]).logits
                own = torch.nn.functional.cross_entropy(logits.flatten(0, 1), one["labels"].flatten())
                theirs = model(input_ids=other["input_ids"], labels=other["labels"]).loss
            assert torch.allclose(own, theirs, atol=1e-6), (own, theirs)


@pytest.mark.filterwarnings("ignore:a second pass:mixdown.OrderWarning")
def test_arrays_of_numpy_collate_as_tensors_do(mixture, dataset):
    arrays = mixdown.MixtureDataset(mixture, STEPS, fields=["slot", "position_ids"], format="numpy")
    assert isinstance(arrays[0]["input_ids"], np.ndarray)
    assert_same(DataLoader(arrays, batch_size=B), list(dataset.batches()))
    loader = DataLoader(arrays, batch_size=B, num_workers=1, collate_fn=mixdown.collate)
    assert all(isinstance(batch["labels"], np.ndarray) and batch["labels"].shape == (B, T) for batch in loader)


def test_a_labeled_mixture_in_workers(corpora):
    mixture = mixture_of(corpora, sources={"pairs": (corpora / "pairs", 1), "math": (corpora / "math", 1)})
    dataset = mixdown.MixtureDataset(mixture, 6, labels="hf")
    loader = DataLoader(dataset, batch_size=B, num_workers=2, collate_fn=mixdown.collate)
    assert_same(loader, list(dataset.batches()))
    assert any((batch["labels"] == -100).any() for batch in loader)
