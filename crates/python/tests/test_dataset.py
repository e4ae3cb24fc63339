"""Samples and batches: fields, buffers, ranks, states, threads and forks."""

import gc
import json
import multiprocessing
import pickle
import warnings

import numpy as np
import pytest

import mixdown
from conftest import mixture_of

T, B = 32, 12


def dataset_of(mixture, steps=40, **options):
    return mixdown.MixtureDataset(mixture, steps, **{"format": "numpy", **options})


def rows_of(corpora, mixture, slots):
    """The sequences of some slots by the order alone: windows of the stream, at its end going on at 1."""
    corpora = [mixdown.Corpus(corpora / name) for name in mixture.sources]
    streams = [np.concatenate(list(corpus)) for corpus in corpora]
    order = mixture.order(0, max(slots) + 1)
    for slot in slots:
        stream = streams[order["source"][slot]]
        targets = (len(stream) - 1) // T * T
        places = order["start_token"][slot].astype(np.int64) + np.arange(T + 1)
        yield stream[np.where(places > targets, places - targets, places)]


def test_a_sample_is_the_window_that_the_order_names(corpora, mixture):
    dataset = dataset_of(mixture)
    assert len(dataset) == 40 * B
    slots = range(0, 40 * B, 7)
    for slot, row in zip(slots, rows_of(corpora, mixture, slots)):
        sample = dataset[slot]
        assert sample["input_ids"].dtype == sample["labels"].dtype == np.int64
        assert np.array_equal(sample["input_ids"], row[:-1]) and np.array_equal(sample["labels"], row[1:])
        assert sample["source"] == mixture.order(slot, slot + 1)["source"][0]


def test_slots_are_indexed_as_a_list_is(mixture):
    dataset = dataset_of(mixture, 2)
    same = lambda one, other: np.array_equal(one["input_ids"], other["input_ids"])  # noqa: E731
    assert same(dataset[-1], dataset[2 * B - 1]) and same(dataset[np.int32(3)], dataset[3])
    assert [same(a, dataset[b]) for a, b in zip(dataset[-3:], range(2 * B - 3, 2 * B))] == [True] * 3
    assert len(dataset[5:1]) == 0 and len(list(dataset)) == 2 * B
    assert same(dataset[::-5][-1], dataset[(2 * B - 1) % 5])
    for beyond in (2 * B, -2 * B - 1):
        with pytest.raises(IndexError, match=f"slot {beyond} of a run of {2 * B}"):
            dataset[beyond]
    with pytest.raises(AttributeError):
        dataset["first"]


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint32", "uint16"])
def test_batches_are_the_samples_of_their_slots(mixture, dtype):
    dataset = dataset_of(mixture, dtype=dtype, fields=["slot", "position_ids", "segment_ids", "cu_seqlens"])
    for step, batch in enumerate(dataset.batches(threads=2)):
        assert batch["input_ids"].dtype == dtype and batch["input_ids"].shape == (B, T)
        # Both are views of one buffer.
        assert np.shares_memory(batch["input_ids"], batch["labels"])
        assert np.array_equal(batch["slot"], np.arange(step * B, step * B + B))
        samples = dataset[step * B : step * B + B]
        assert all(np.array_equal(batch[name], samples.arrays[name]) for name in batch)
        for row, sample in enumerate(samples):
            names = ("input_ids", "labels", "source", "slot", "position_ids")
            assert all(np.array_equal(batch[name][row], sample[name]) for name in names)
    assert step == 39


def test_any_step_is_there_at_once(mixture):
    dataset = dataset_of(mixture, fields=["slot"])
    for rank, world_size in ((0, 1), (2, 3)):
        batches = list(dataset.batches(rank, world_size))
        for step in (39, 0, 17):
            batch = dataset.batch(step, rank, world_size)
            assert all(np.array_equal(batch[name], batches[step][name]) for name in batch)
    with pytest.raises(IndexError, match="step 40 of a run of 40"):
        dataset.batch(40)
    with pytest.raises(mixdown.ConfigurationError, match="rank"):
        dataset.batch(0, 3, 3)


def test_documents_restart_positions_and_end_sequences(mixture):
    eot = 0
    for labels, length in (("shifted", T), ("hf", T + 1)):
        dataset = dataset_of(mixture, 6, labels=labels, fields=["position_ids", "segment_ids", "cu_seqlens"])
        for batch in dataset.batches():
            positions, segments = batch["position_ids"], batch["segment_ids"]
            assert positions.shape == segments.shape == batch["input_ids"].shape == (B, length)
            starts = np.flatnonzero(positions == 0)
            assert np.array_equal(batch["cu_seqlens"], [*starts, positions.size])
            assert batch["cu_seqlens"].dtype == np.int32
            assert np.array_equal(np.diff(segments, axis=1) == 1, positions[:, 1:] == 0)
            within = positions[:, 1:] != 0
            assert np.array_equal(positions[:, 1:][within], positions[:, :-1][within] + 1)
            sample = dataset[5]["cu_seqlens"]
            assert sample[0] == 0 and sample[-1] == length
            eot += int((positions[:, 1:] == 0).sum())
    assert eot > 10


def test_unlabeled_targets_are_masked(corpora, labeled):
    shifted = dataset_of(labeled, 10, fields=["loss_mask"])
    hf = dataset_of(labeled, 10, labels="hf", fields=["loss_mask"])
    for one, other in zip(shifted.batches(), hf.batches()):
        mask = one["loss_mask"]
        assert mask.dtype == np.uint8 and 0 < mask.sum() < mask.size
        assert np.array_equal(mask[one["source"] == 1], np.ones((int((one["source"] == 1).sum()), T)))
        assert np.array_equal(one["labels"] != -100, mask == 1)
        # What a model that shifts by itself trains on: the same targets.
        assert np.array_equal(other["labels"][:, 1:], one["labels"])
        assert np.array_equal(other["input_ids"][:, :-1], one["input_ids"])
        assert np.array_equal(other["loss_mask"][:, 1:], mask) and other["loss_mask"][:, 0].sum() == 0
    with pytest.raises(mixdown.ConfigurationError, match="labels may be -100, got 'uint16'"):
        dataset_of(labeled, 10, dtype="uint16")


def test_without_labels_hf_batches_copy_nothing(mixture):
    batch = next(dataset_of(mixture, 1, labels="hf").batches())
    assert batch["input_ids"].shape == (B, T + 1) and batch["input_ids"] is batch["labels"]


def test_a_batch_that_is_held_is_never_written_to_again(mixture):
    dataset = dataset_of(mixture, 200)
    expected = [dataset[step * B]["input_ids"].copy() for step in range(200)]
    batches = dataset.batches(ahead=2)
    held = []
    for step, batch in enumerate(batches):
        if step % 20 == 0:
            # One row is enough to keep the whole buffer.
            held.append((step, batch["labels"][0], batch["input_ids"][0]))
    del batches, batch
    gc.collect()
    for step, labels, inputs in held:
        assert np.array_equal(inputs, expected[step]) and np.array_equal(labels[:-1], expected[step][1:])
    samples = [dataset[slot]["input_ids"] for slot in range(0, 100 * B, B)]
    assert all(np.array_equal(sample, row) for sample, row in zip(samples, expected))


def test_ranks_share_out_every_batch_whatever_their_number(mixture):
    dataset = dataset_of(mixture, 20, fields=["slot"])
    whole = list(dataset.batches())
    for world_size in (1, 2, 3, 4, 6, 12):
        parts = [list(dataset.batches(rank, world_size)) for rank in range(world_size)]
        for step, batch in enumerate(whole):
            rows = {}
            for part in parts:
                rows.update(zip(part[step]["slot"].tolist(), part[step]["input_ids"]))
            assert len(rows) == B
            assert all(np.array_equal(rows[slot], row) for slot, row in zip(batch["slot"], batch["input_ids"]))


def test_a_run_goes_on_from_its_state_with_other_ranks_and_threads(mixture):
    dataset = dataset_of(mixture, 30, fields=["slot"])
    slots = []
    state, world_size = dataset.state_at(0), 1
    while dataset.step_of(state) < 30:
        state = json.loads(json.dumps(state))
        ranks = [dataset.batches(r, world_size, state, threads=world_size, ahead=3) for r in range(world_size)]
        for _ in range(min(4, len(ranks[0]))):
            slots.extend(sorted(int(slot) for rank in ranks for slot in next(rank)["slot"]))
        states = [rank.state_dict() for rank in ranks]
        assert all(other == states[0] for other in states)
        state, world_size = states[0], world_size % 4 + 1
    assert slots == list(range(30 * B))


def test_a_state_of_another_mixture_is_refused(corpora, mixture):
    state = dataset_of(mixture).state_at(3)
    other = dataset_of(mixture_of(corpora, seed=8))
    with pytest.raises(mixdown.ConfigurationError, match="seed"):
        other.batches(start=state)
    with pytest.raises(mixdown.ConfigurationError, match="multiple of batch_size 10, got slot 36"):
        dataset_of(mixture_of(corpora, batch_size=10)).batches(start=state)
    with pytest.raises(mixdown.ConfigurationError, match="the state: missing field"):
        other.batches(start={"slot": 3})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: dataset_of(m, labels="next"), 'labels: expected one of "shifted", "hf", got "next"'),
        (lambda m: dataset_of(m, fields=["position_id"]), "fields: expected one of"),
        (lambda m: dataset_of(m, dtype="float32"), 'dtype: expected "int64"'),
        (lambda m: dataset_of(m, format="jax"), "format: expected one of"),
        (lambda m: dataset_of(m, "1 fortnight"), "fortnight"),
        (lambda m: dataset_of(m, -1), "-1"),
        (lambda m: dataset_of(m, 1 << 62), "the sequences of a run"),
        (lambda m: dataset_of(m, 1 << 60), "fewer than 2\\^63"),
        (lambda m: dataset_of(m).batches(2, 2), "rank"),
        (lambda m: dataset_of(m).batches(-1), "rank: expected a whole number from 0"),
        (lambda m: dataset_of(m).batches(0.5), "got 0.5"),
        (lambda m: dataset_of(m).batches(start=41), "start: expected a whole number from 0 to 40, got 41"),
        (lambda m: dataset_of(m).batches(start=-1), "start: expected"),
        (lambda m: dataset_of(m).batches(start="latest"), "start: expected"),
        (lambda m: dataset_of(m).state_at(-1), "step: expected"),
        (lambda m: m.order(-1, 5), "start: expected"),
        (lambda m: dataset_of(m).batches(0, 5), "world size 5"),
        (lambda m: dataset_of(m).batches(threads=0), "threads: expected 1 to 1024"),
        (lambda m: mixdown.StepSampler(dataset_of(m), 0, 7), "world size 7"),
    ],
)
def test_what_no_dataset_can_do(mixture, make, message):
    with pytest.raises(mixdown.ConfigurationError, match=message):
        make(mixture)


def test_a_lost_order_is_warned_of_once(mixture):
    dataset = dataset_of(mixture)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(dataset)
        dataset[100], dataset[50]
        assert not caught
        dataset = dataset_of(mixture)
        for slot in np.random.default_rng(1).permutation(len(dataset)):
            dataset[slot]
        assert [warning.category for warning in caught] == [mixdown.OrderWarning]
        assert "shuffle=False" in str(caught[0].message)


def test_a_second_pass_is_warned_of_once(mixture):
    for again in (lambda dataset: list(dataset), lambda dataset: dataset.set_epoch(1)):
        dataset = dataset_of(mixture)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dataset.set_epoch(0)
            list(dataset)
            # A look at the first sample before or in a run is no second pass.
            assert not caught
            again(dataset)
            again(dataset)
        assert [warning.category for warning in caught] == [mixdown.OrderWarning]
        assert "a second pass over the run of 40 steps" in str(caught[0].message)
    # A sampler knows its passes where workers of a DataLoader read; each rank's pass is the first.
    dataset = dataset_of(mixture)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        samplers = [mixdown.StepSampler(dataset, rank, 2) for rank in range(2)]
        passes = [list(sampler) for sampler in samplers]
        assert sorted(slot for slots in passes for part in slots for slot in part) == list(range(len(dataset)))
        assert not caught
        assert list(samplers[1]) == passes[1]
        assert [warning.category for warning in caught] == [mixdown.OrderWarning]


def test_micro_batches_are_parts_of_a_step(mixture):
    dataset = dataset_of(mixture)
    whole = list(mixdown.StepSampler(dataset, 1, 2, start=3))
    sampler = mixdown.StepSampler(dataset, 1, 2, start=3, accumulation=3)
    parts = list(sampler)
    assert len(sampler) == len(parts) == 3 * len(whole)
    assert [sum(parts[3 * step : 3 * step + 3], []) for step in range(len(whole))] == whole
    # A state within a step is that of its beginning: the gradients so far are in no checkpoint.
    iterator = iter(mixdown.StepSampler(dataset, accumulation=4))
    for _ in range(4 * 5 + 2):
        next(iterator)
    assert iterator.state_dict() == dataset.state_at(5)
    for wrong in (0, 5, 12):
        with pytest.raises(mixdown.ConfigurationError, match="accumulation: expected a divisor of the 6"):
            mixdown.StepSampler(dataset, 0, 2, accumulation=wrong)


def test_every_row_says_how_many_targets_its_step_has(mixture, labeled):
    for one, world_size in ((mixture, 3), (labeled, 4)):
        dataset = mixdown.MixtureDataset(one, 10, format="numpy", fields=["loss_mask", "step_targets"])
        for step in range(dataset.steps):
            parts = [dataset.batch(step, rank, world_size) for rank in range(world_size)]
            targets = sum(int(part["loss_mask"].sum()) for part in parts)
            assert all((part["step_targets"] == targets).all() for part in parts)
            first = step * one.batch_size
            assert dataset[first]["step_targets"] == targets
        ahead = dataset.batches(1, world_size)
        assert all(
            (batch["step_targets"] == dataset.batch(step)["step_targets"][0]).all() for step, batch in enumerate(ahead)
        )
        # Rows of several steps at once.
        samples = dataset[one.batch_size - 1 : one.batch_size + 1].arrays["step_targets"]
        assert samples.tolist() == [int(dataset.batch(step)["loss_mask"].sum()) for step in (0, 1)]


def test_views_of_one_buffer_are_read_only(mixture, labeled):
    for labels in ("shifted", "hf"):
        batch = next(dataset_of(mixture, labels=labels).batches())
        assert np.shares_memory(batch["input_ids"], batch["labels"])
        for name in ("input_ids", "labels"):
            with pytest.raises(ValueError, match="read-only"):
                batch[name][0, 0] = 1
        # Labels that are masked are a copy.
        batch = next(dataset_of(labeled, labels=labels).batches())
        assert not np.shares_memory(batch["input_ids"], batch["labels"])
        batch["labels"][0, 0] = 1


def test_a_state_beyond_the_run_is_refused(mixture):
    state = dataset_of(mixture).state_at(15)
    short = mixdown.MixtureDataset(mixture, 10, format="numpy")
    for take in (lambda: short.batches(start=state), lambda: mixdown.StepSampler(short, start=state)):
        with pytest.raises(mixdown.ConfigurationError, match="run's 10 steps, got a state at step 15"):
            take()
    ended = short.batches(start=short.state_at(10))
    assert len(ended) == 0 and list(ended) == []


def sums(dataset):
    return [int(batch["input_ids"].sum()) for batch in dataset.batches()]


def in_child(pipe, dataset, iterator):
    try:
        next(iterator)
    except RuntimeError as error:
        pipe.send(str(error))
    pipe.send((sums(dataset), [int(dataset[slot]["input_ids"].sum()) for slot in range(20)]))
    del iterator
    pipe.send("ended")


def test_after_a_fork_the_dataset_works_and_an_old_iterator_says_why_it_does_not(mixture):
    dataset = dataset_of(mixture, 8)
    iterator = dataset.batches()
    first = next(iterator)
    here, there = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=in_child, args=(there, dataset, iterator))
    child.start()
    assert here.poll(60) and "before this process was forked" in here.recv()
    assert here.poll(60) and here.recv() == (sums(dataset), [int(dataset[s]["input_ids"].sum()) for s in range(20)])
    assert here.poll(60) and here.recv() == "ended"
    child.join(60)
    assert child.exitcode == 0 and first["input_ids"].shape == (B, T) and len(list(iterator)) == 7


def test_a_pickled_dataset_gives_the_same(mixture):
    dataset = dataset_of(mixture, 8, labels="hf", fields=["slot"], dtype="int32")
    again = pickle.loads(pickle.dumps(dataset))
    assert sums(again) == sums(dataset) and again.fields == dataset.fields
