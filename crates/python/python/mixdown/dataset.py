"""The sequences of a run as samples and batches, for PyTorch, JAX, or plain NumPy."""

from __future__ import annotations

import json
import os
import uuid
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, overload
from weakref import WeakSet

from mixdown.errors import ConfigurationError, OrderWarning
from mixdown.mixture import Mixture, shown, texts_of, whole

if TYPE_CHECKING:
    import numpy as np

    from mixdown._mixdown import BatchLoader, Rows

#: The optional content of a batch beside input_ids, labels and source.
FIELDS = ("position_ids", "segment_ids", "cu_seqlens", "loss_mask", "slot", "step_targets")

#: The label of a target that does not count; PyTorch's cross-entropy ignores it by default.
IGNORE_INDEX = -100


class MixtureDataset:
    """The first steps of a mixture's run: a map-style dataset of its slots, and an iterator of batches.

    ``len(dataset)`` is the number of slots, ``steps`` · ``batch_size``. ``dataset[slot]`` is one sample, a
    dict; a DataLoader that takes samples in ascending order without shuffling gets the mixture's exact
    order. :meth:`batches` gives whole batches made ahead by threads and needs no DataLoader.

    Every sample and batch contains, with L = T for ``labels="shifted"`` and L = T + 1 for ``labels="hf"``:

    - ``input_ids``: (L,) or (rows, L), ``dtype``;
    - ``labels``: like ``input_ids``; −100 where a target does not count for the loss;
    - ``source``: an integer or (rows,) int64, the place in ``mixture.sources``;

    and those of ``fields`` that were requested:

    - ``position_ids``: (L,) or (rows, L) int64, starting at 0 in every document;
    - ``segment_ids``: (L,) or (rows, L) int64, the number of each input's document in its row;
    - ``cu_seqlens``: (documents + 1,) int32, the starts of documents among all inputs, as FlashAttention takes
      them;
    - ``loss_mask``: (L,) or (rows, L) uint8, 1 where the label counts;
    - ``slot``: an integer or (rows,) int64;
    - ``step_targets``: an integer or (rows,) int64, the number of targets that count for the loss in the row's
      whole step, over all ranks and micro-batches.

    The loss of a step is the mean over its targets. A rank, or a micro-batch of gradient accumulation, holds a part
    of them, and with masked labels the parts differ in size, so the mean of the parts' means is a different number.
    Take the *sum* of the losses of each part and divide it by ``step_targets``. If the trainer averages gradients
    over ranks or micro-batches (DDP, Lightning, Accelerate), multiply by their number.

    ``input_ids`` and ``labels`` are views of one (rows, T + 1) buffer if no label is masked. As NumPy arrays they
    are read-only. PyTorch has no read-only tensors: change neither in place, and use ``reshape`` instead of
    ``view``, which needs contiguous memory.

    A run is more than an epoch: it contains the epochs of its sources, and a second pass would give the same
    sequences in the same order again. :class:`OrderWarning` is issued when a second pass begins.

    Args:
        mixture: a :class:`Mixture`, or its description: the path of a MIX.toml or a mapping.
        steps: the run's length: a number of steps, or a text such as ``"1B tokens"`` or ``"2 epochs of math"``.
        labels: ``"shifted"``: label t is the target of input t (Megatron, torchtitan, plain PyTorch).
            ``"hf"``: labels equal the inputs, T + 1 of each, and the model shifts them (transformers). Both
            train on the same T targets.
        fields: further content of a batch, from the list above.
        dtype: the type of ids and labels: ``"int64"``, ``"int32"``, ``"uint32"`` or ``"uint16"``.
        format: ``"torch"`` for tensors or ``"numpy"`` for arrays.

    Raises:
        ConfigurationError: another argument, or a run that would exceed a source's ``max_epochs``.
    """

    def __init__(
        self,
        mixture: Mixture | str | os.PathLike[str] | Mapping[str, Any],
        steps: int | str,
        *,
        labels: str = "shifted",
        fields: str | Iterable[str] = (),
        dtype: str = "int64",
        format: str = "torch",
    ) -> None:
        self.mixture = mixture if isinstance(mixture, Mixture) else Mixture(mixture)
        self.steps = self.mixture.steps(steps)
        if self.steps * self.mixture.batch_size >= 1 << 63:
            raise ConfigurationError(f"steps: expected fewer than 2^63 sequences, got {steps}")
        self.labels = _one_of("labels", labels, ("shifted", "hf"))
        self.fields = tuple(_one_of("fields", field, FIELDS) for field in texts_of("fields", fields))
        self.format = _one_of("format", format, ("torch", "numpy"))
        self.dtype = str(dtype).removeprefix("torch.")
        if self.dtype.startswith("u") and self.mixture.is_labelled:
            raise ConfigurationError(
                f'dtype: expected "int64" or "int32", because labels may be {IGNORE_INDEX}, got {dtype!r}'
            )
        self.key = uuid.uuid4().hex
        self._open()

    def _open(self) -> None:
        _DATASETS[self.key].add(self)
        if self.format == "torch":
            _torch()
        self._documents = any(field in self.fields for field in ("position_ids", "segment_ids", "cu_seqlens"))
        self._filler = self.mixture._here().filler(self.dtype, self._documents)
        self._process = os.getpid()
        self._last = -1
        self._descents = 0
        self._warned = False
        self._taken = 0
        self._warned_of_pass = False

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if not key.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return self.steps * self.mixture.batch_size

    def __repr__(self) -> str:
        return f"MixtureDataset of {self.steps} steps, {len(self)} sequences, labels {self.labels}: {self.mixture}"

    @overload
    def __getitem__(self, slot: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, slot: slice) -> Samples: ...
    def __getitem__(self, slot: int | slice) -> dict[str, Any] | Samples:
        if isinstance(slot, slice):
            return self._samples(list(range(*slot.indices(len(self)))))
        return self.__getitems__([slot])[0]

    def __getitems__(self, slots: Sequence[int]) -> Samples:
        """Samples of several slots, filled at once; a DataLoader calls it with a batch's slots."""
        slots = self._checked(slots)
        self._watch(slots)
        return self._samples(slots)

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> dict[str, Any]:
        """A rank's part of the batch of any step, made by the calling thread, as :meth:`batches` gives it.

        Raises:
            ConfigurationError: a rank or world size that does not fit.
        """
        step = step.__index__()
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of a run of {self.steps}")
        rank, world_size = whole("rank", rank), whole("world_size", world_size)
        start, end = self.mixture._here().part(step, rank, world_size)
        return self._samples(list(range(start, end))).arrays

    def _samples(self, slots: list[int]) -> Samples:
        if self._process != os.getpid():
            self._open()
        return Samples(self, slots, self._arrays(self._filler.fill(slots)))

    def _checked(self, slots: Sequence[int]) -> list[int]:
        count = len(self)
        checked = [slot.__index__() for slot in slots]
        for place, slot in enumerate(checked):
            if slot < 0:
                checked[place] = slot + count
            if not 0 <= checked[place] < count:
                raise IndexError(f"slot {slot} of a run of {count} ({self.steps} steps)")
        return checked

    def _watch(self, slots: list[int]) -> None:
        """Warns once if slots are not taken in ascending order, and once when a second pass begins."""
        for slot in slots:
            if slot == 0 and self._taken >= len(self):
                self._warn_of_pass()
            # A few steps back are not shuffling.
            self._descents += slot < self._last and slot != 0
            self._last = slot
            self._taken += 1
        if self._descents >= _DESCENTS and not self._warned:
            self._warned = True
            warnings.warn(
                "samples are taken in another order than the mixture's, so its shares no longer hold at every "
                "step: use shuffle=False, or a sampler that keeps the order such as mixdown.StepSampler "
                "(the mixture is shuffled already)",
                OrderWarning,
                stacklevel=4,
            )

    def set_epoch(self, epoch: int) -> None:
        """Warns of a second pass over the run. Accelerate, and so Hugging Face's Trainer, calls this before each
        pass; it also works with DataLoader workers, each of which sees only its part of a pass."""
        if epoch > 0:
            self._warn_of_pass()

    def _warn_of_pass(self) -> None:
        if self._warned_of_pass:
            return
        self._warned_of_pass = True
        warnings.warn(
            f"a second pass over the run of {self.steps} steps begins: it gives the same sequences in the same "
            "order again, beyond any max_epochs. A run already contains the epochs of its sources: train for one "
            'pass, and make the run longer if you need more (such as steps="3 epochs of NAME"). With '
            "gradient accumulation a step of the mixture is one optimizer step: give each micro-batch "
            "batch_size / (world size * accumulation) sequences",
            OrderWarning,
            stacklevel=4,
        )

    def batches(
        self,
        rank: int = 0,
        world_size: int = 1,
        start: int | Mapping[str, Any] = 0,
        *,
        threads: int = 1,
        ahead: int = 4,
    ) -> Batches:
        """Iterates over a rank's part of every batch, made ahead by threads of this process.

        Args:
            rank: the number of this process among those that share a batch.
            world_size: the number of processes; it divides ``batch_size``.
            start: the first step, or a state of :meth:`Batches.state_dict` of any rank and world size.
            threads: the number of threads that make batches; one fills some hundred million tokens per second.
            ahead: the number of batches that are made ahead.

        Raises:
            ConfigurationError: a rank or world size that does not fit; a state of another mixture, whose
                difference the message names.
        """
        step = self._first_step(start)
        loader = self.mixture._here().batches(
            start=step,
            end=self.steps,
            rank=whole("rank", rank),
            world_size=whole("world_size", world_size),
            threads=whole("threads", threads),
            ahead=whole("ahead", ahead),
            dtype=self.dtype,
            documents=self._documents,
        )
        return Batches(self, loader, step)

    def _first_step(self, start: int | Mapping[str, Any]) -> int:
        return self.step_of(start) if isinstance(start, Mapping) else whole("start", start, self.steps)

    def state_at(self, step: int) -> dict[str, Any]:
        """The state of a run whose next step is ``step``: the same for every rank. It contains fingerprints of the
        mixture, so that another mixture refuses it."""
        slot = whole("step", step, self.steps) * self.mixture.batch_size
        state: dict[str, Any] = json.loads(self.mixture._here().state(slot))
        return state

    def step_of(self, state: Mapping[str, Any]) -> int:
        """The next step of a run that stopped at ``state``.

        Raises:
            ConfigurationError: a state of another mixture; the message names the difference.
        """
        if not isinstance(state, Mapping):
            raise ConfigurationError(f"state: expected the mapping of a state_dict, got {shown(state)}")
        slot = self.mixture._here().resume(json.dumps(dict(state)))
        step, rest = divmod(slot, self.mixture.batch_size)
        if rest:
            raise ConfigurationError(
                f"state: expected a multiple of batch_size {self.mixture.batch_size}, got slot {slot}: continue "
                "with the batch size of the run"
            )
        if step > self.steps:
            raise ConfigurationError(
                f"state: expected one of the run's {self.steps} steps, got a state at step {step} (batch_size "
                f"{self.mixture.batch_size}): make the run longer, or take a state from before its end"
            )
        return step

    def _arrays(self, rows: Rows) -> dict[str, Any]:
        """A batch's arrays or tensors by name."""
        tokens: Any = rows.tokens()
        mask = rows.loss_mask()
        if self.format == "torch":
            # Converted before slicing, so that both views share one storage.
            tokens = _torch().from_numpy(tokens)
        elif mask is None:
            # Labels are a view of the same memory: a write into one would change the other.
            tokens.flags.writeable = False
        shifted = self.labels == "shifted"
        labels = tokens[:, 1:] if shifted else tokens
        if mask is not None:
            labels = labels.clone() if self.format == "torch" else labels.copy()
            labels[:, -mask.shape[1] :][mask == 0] = IGNORE_INDEX
        arrays = {"input_ids": tokens[:, :-1] if shifted else tokens, "labels": labels, "source": rows.sources()}
        if self.fields:
            self._add_fields(arrays, rows, mask)
        if self.format == "torch":
            torch = _torch()
            arrays = {
                name: array if isinstance(array, torch.Tensor) else torch.from_numpy(array)
                for name, array in arrays.items()
            }
        return arrays

    def _add_fields(self, arrays: dict[str, Any], rows: Rows, mask: Any) -> None:
        import numpy as np

        documents = rows.documents()
        if documents is not None:
            segments, positions = documents
            if self.labels == "hf":
                # The last token is not an input of the loss; it belongs to the last document.
                segments = np.concatenate([segments, segments[:, -1:]], axis=1)
                positions = np.concatenate([positions, positions[:, -1:] + 1], axis=1)
            starts = np.append(np.flatnonzero(positions == 0), positions.size)
            extra = {"segment_ids": segments, "position_ids": positions, "cu_seqlens": starts.astype(np.int32)}
            arrays.update((name, array) for name, array in extra.items() if name in self.fields)
        if "loss_mask" in self.fields:
            whole = np.ones(tuple(arrays["labels"].shape), np.uint8)
            if mask is not None:
                whole[:, -mask.shape[1] :] = mask
            if self.labels == "hf":
                whole[:, 0] = 0
            arrays["loss_mask"] = whole
        if "slot" in self.fields:
            arrays["slot"] = rows.slots()
        if "step_targets" in self.fields:
            arrays["step_targets"] = self._step_targets(rows.slots() // self.mixture.batch_size)

    def _step_targets(self, steps: np.ndarray) -> np.ndarray:
        """The number of targets in each row's whole step."""
        import numpy as np

        if not self.mixture.is_labelled:
            return np.full(len(steps), self.mixture.batch_size * self.mixture.sequence_length, np.int64)
        different, places = np.unique(steps, return_inverse=True)
        core = self.mixture._here()
        return np.array([core.step_targets(step) for step in different], np.int64)[places]


#: The number of descents in a process from which the order counts as lost.
_DESCENTS = 4


class Samples(Sequence[dict[str, Any]]):
    """Several samples that were filled at once: a sequence of dicts whose memory is one batch.

    ``arrays`` is that batch; :func:`collate` returns it unchanged.
    """

    def __init__(self, dataset: MixtureDataset, slots: list[int], arrays: dict[str, Any]) -> None:
        self.arrays = arrays
        self._dataset = dataset
        self._slots = slots

    def __len__(self) -> int:
        return len(self.arrays["source"])

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, place: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"sample {place} of {len(self)}")
        place %= len(self)
        sample = {
            name: array[place].item() if array.ndim == 1 else array[place]
            for name, array in self.arrays.items()
            if name != "cu_seqlens"
        }
        if "cu_seqlens" in self.arrays:
            sample["cu_seqlens"] = self._starts(place)
        return sample

    def _starts(self, place: int) -> Any:
        """The starts of documents among the inputs of one sample."""
        length = self.arrays["input_ids"].shape[1]
        starts = self.arrays["cu_seqlens"]
        first = place * length
        return starts[(starts >= first) & (starts <= first + length)] - first


def collate(samples: Samples | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A DataLoader's ``collate_fn`` without a copy: it returns the batch that the samples were filled in.

    Other samples (for example of a subset) are stacked as by PyTorch's default collate function.
    """
    from torch.utils.data import default_collate, get_worker_info

    if not isinstance(samples, Samples):
        stacked: dict[str, Any] = default_collate(list(samples))
        return stacked
    if get_worker_info() is None or not hasattr(samples.arrays["source"], "untyped_storage"):
        return samples.arrays
    return _in_one_piece(samples.arrays)


def collate_by_slot(samples: Samples) -> dict[str, Any]:
    """Like :func:`collate`, but a worker passes on only the slots of a batch, and the training process fills them.

    PyTorch takes a millisecond or more to transfer tensors from a worker; filling them takes a tenth of that. The
    worker has already read the data, so it comes from memory. Use it only for batches that the worker does not
    change, because such changes would be lost.
    """
    if not isinstance(samples, Samples):
        raise ConfigurationError(
            f"collate_by_slot: expected the samples of a MixtureDataset, got {type(samples).__name__}: use "
            "mixdown.collate if something wraps the dataset in the loader"
        )
    return _BySlot(samples)


class _BySlot(dict[str, Any]):
    """A batch that is sent to another process as its slots."""

    def __init__(self, samples: Samples) -> None:
        super().__init__(samples.arrays)
        self._dataset, self._slots = samples._dataset, samples._slots

    def __reduce__(self) -> tuple[Any, ...]:
        return _filled_here, (self._dataset.key, self._slots)


def _filled_here(key: str, slots: list[int]) -> dict[str, Any]:
    return next(iter(_DATASETS[key]))._samples(slots).arrays


#: The datasets of this process by key; copies have the same key, also in worker processes.
_DATASETS: defaultdict[str, WeakSet[MixtureDataset]] = defaultdict(WeakSet)


def _in_one_piece(tensors: dict[str, Any]) -> dict[str, Any]:
    """The same tensors in one piece of shared memory. A worker transfers each piece in a millisecond, whatever its
    size; separate tensors would take two to four."""
    import torch

    memories = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors.values()}
    # Each begins at a multiple of the widest number's size.
    starts = dict(zip(memories, accumulate((-(-len(memory) // 8) * 8 for memory in memories.values()), initial=0)))
    last = next(reversed(memories), None)
    piece = torch.UntypedStorage._new_shared(starts[last] + len(memories[last]) if memories else 0)
    whole = torch.empty(0, dtype=torch.uint8).set_(piece)
    for address, memory in memories.items():
        start = starts[address]
        whole[start : start + len(memory)] = torch.empty(0, dtype=torch.uint8).set_(memory)
    return {
        name: tensor.new_empty(0).set_(
            piece,
            starts[tensor.untyped_storage().data_ptr()] // tensor.element_size() + tensor.storage_offset(),
            tensor.shape,
            tensor.stride(),
        )
        for name, tensor in tensors.items()
    }


class Batches(Iterator[dict[str, Any]]):
    """A rank's batches in the order of their steps, as :meth:`MixtureDataset.batches` returns them."""

    def __init__(self, dataset: MixtureDataset, loader: BatchLoader, step: int) -> None:
        self._dataset = dataset
        self._loader = loader
        self._step = step

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> dict[str, Any]:
        arrays = self._dataset._arrays(next(self._loader))
        self._step += 1
        return arrays

    def __len__(self) -> int:
        return self._dataset.steps - self._step

    @property
    def step(self) -> int:
        """The next step."""
        return self._step

    def state_dict(self) -> dict[str, Any]:
        """The state from which to continue after the batches taken so far, the same on every rank: plain numbers
        and strings, for ``start`` of :meth:`MixtureDataset.batches` with any rank and world size."""
        return self._dataset.state_at(self._step)

    def close(self) -> None:
        """Stops the threads; batches that were taken stay valid."""
        self._loader.close()

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StepSampler:
    """A DataLoader's ``batch_sampler``: the slots of a rank's part of every step, in the mixture's order.

    >>> loader = DataLoader(dataset, batch_sampler=StepSampler(dataset, rank, world_size),
    ...                     collate_fn=mixdown.collate, num_workers=2)

    Its state is that of the run, for torchdata's StatefulDataLoader: it counts the batches that the
    consumer took, is the same on every rank, and may be loaded by another world size.

    With ``accumulation`` A every step is divided into A micro-batches with the same number of rows, for trainers
    that sum gradients over A batches before a step. A state taken between two micro-batches is that of the step's
    beginning, because no checkpoint contains the gradients summed so far.

    Args:
        dataset: the dataset that the loader reads.
        rank: the number of this process among those that share a batch.
        world_size: the number of processes; it divides ``batch_size``.
        start: the first step, or a state of :meth:`MixtureDataset.state_at` or :meth:`Batches.state_dict`.
        accumulation: the number of micro-batches per step; ``world_size`` · ``accumulation`` divides
            ``batch_size``.

    Raises:
        ConfigurationError: a rank, world size or accumulation that does not fit; a state of another mixture.
    """

    def __init__(
        self,
        dataset: MixtureDataset,
        rank: int = 0,
        world_size: int = 1,
        start: int | Mapping[str, Any] = 0,
        accumulation: int = 1,
    ) -> None:
        self.dataset = dataset
        self.rank = whole("rank", rank)
        self.world_size = whole("world_size", world_size)
        self.accumulation = whole("accumulation", accumulation)
        self.start = dataset._first_step(start)
        # Refuses a rank that does not fit before any worker is started.
        first, end = dataset.mixture._here().part(0, self.rank, self.world_size)
        if self.accumulation == 0 or (end - first) % self.accumulation:
            raise ConfigurationError(
                f"accumulation: expected a divisor of the {end - first} sequences that a rank has of each step "
                f"(batch_size {dataset.mixture.batch_size}, world_size {self.world_size}), got {accumulation}"
            )
        self._passed = False

    def __len__(self) -> int:
        return max(self.dataset.steps - self.start, 0) * self.accumulation

    def __iter__(self) -> StepIterator:
        return StepIterator(self)

    def set_epoch(self, epoch: int) -> None:
        """Warns of a second pass over the run; trainers that repeat a loader call this before each pass."""
        self.dataset.set_epoch(epoch)


class StepIterator(Iterator[list[int]]):
    """One pass of a :class:`StepSampler`."""

    def __init__(self, sampler: StepSampler) -> None:
        self._sampler = sampler
        self._step = sampler.start
        self._micro = 0

    def __next__(self) -> list[int]:
        sampler = self._sampler
        if self._step >= sampler.dataset.steps:
            raise StopIteration
        if sampler._passed and self._step == sampler.start and self._micro == 0:
            sampler.dataset._warn_of_pass()
        start, end = sampler.dataset.mixture._here().part(self._step, sampler.rank, sampler.world_size)
        rows = (end - start) // sampler.accumulation
        start += self._micro * rows
        self._micro = (self._micro + 1) % sampler.accumulation
        self._step += self._micro == 0
        sampler._passed |= self._step >= sampler.dataset.steps
        return list(range(start, start + rows))

    def state_dict(self) -> dict[str, Any]:
        return self._sampler.dataset.state_at(self._step)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._step = self._sampler.dataset.step_of(state)
        self._micro = 0


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        choices = ", ".join(f'"{choice}"' for choice in allowed)
        raise ConfigurationError(f"{name}: expected one of {choices}, got {shown(value)}")
    return value


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ConfigurationError(
            'format: "torch" needs PyTorch, which cannot be imported here: install it, or use "numpy"'
        ) from error
    return torch
