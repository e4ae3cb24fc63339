"""Sources and the exact shares in which they are mixed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from decimal import Decimal
from numbers import Rational
from typing import TYPE_CHECKING, Any

from mixdown._mixdown import MixtureCore, read_mixture
from mixdown.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np

#: The seven fields of a MIX.toml beside its sources and stages.
_SHAPE = (
    "sequence_length",
    "batch_size",
    "seed",
    "window_offset",
    "shuffle_block",
    "weight_unit",
    "access",
)


class Mixture:
    """Corpora mixed in an exact ratio: an endless run, with direct access to every slot, step and rank.

    A run is a sequence of slots, each filled by one sequence of ``sequence_length`` + 1 ids; step b is the
    slots b · batch_size to (b + 1) · batch_size. At every slot the count of each source matches its share as
    exactly as whole numbers allow. The order depends on the description alone, never on ranks, workers or
    restarts.

    A mixture is described by a MIX.toml, by a mapping of the same form, or by keywords:

    >>> Mixture("mix.toml")
    >>> Mixture(sequence_length=1024, batch_size=64, seed=7,
    ...         sources={"math": ("corpora/math", "99%"), "general": ("corpora/general", "1%")})

    Args:
        description: the path of a MIX.toml, whose corpus paths are relative to its folder, or a mapping with the
            same fields, whose paths are relative to the current folder.
        sequence_length: T, the number of inputs (and targets) of a sequence, in tokens.
        batch_size: B, the number of sequences of a step over all ranks.
        seed: the random seed of the data's order.
        sources: by name ``(corpus, weight)``, or a mapping with ``corpus`` and any of ``weight``,
            ``max_tokens`` and ``max_epochs``. Weights are exact: ``"99%"``, ``"1/3"``, ``"0.5"``, whole
            numbers, ``fractions.Fraction`` or ``decimal.Decimal``. Floats are refused, because a float such as 0.1
            is not exact.
        stages: other weights from a later step: ``[{"start": "2000 steps", "weights": {"math": "95%", ...}}]``, or
            weights that change linearly: ``[{"start": "2000 steps", "over": "500 steps", "to": {...}}]``, from the
            weights before it or from those of ``"from"``.
        window_offset: ``"epoch"`` (windows begin at another place in each epoch), ``"anywhere"`` (over the epochs
            every token is a target, also those behind the last complete sequence) or ``"fixed"``.
        shuffle_block: the number of neighboring sequences that stay together, for data on hard disks.
        weight_unit: the unit of the weights: ``"sequences"`` (and so tokens) or ``"loss_tokens"``.
        access: ``"map"``, or ``"read"`` if files may be truncated while they are read.
        check: check every file, and compare held-out documents with other sources' training splits, which
            reads 136 bytes per document. One rank of a run is enough; without the check, opening takes 0.1 ms.

    Raises:
        ConfigurationError: impossible weights, lengths or stages, a source that is too short, or held-out
            documents of one source, or near-duplicates of them, in another's training split.
        NotFoundError: a description or corpus that does not exist.
        DataError: a damaged corpus.
    """

    def __init__(
        self,
        description: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        *,
        sequence_length: int | None = None,
        batch_size: int | None = None,
        seed: int | None = None,
        sources: Mapping[str, Any] | None = None,
        stages: list[Mapping[str, Any]] | None = None,
        window_offset: str | None = None,
        shuffle_block: int | None = None,
        weight_unit: str | None = None,
        access: str | None = None,
        check: bool = True,
    ) -> None:
        values = (sequence_length, batch_size, seed, window_offset, shuffle_block, weight_unit, access)
        fields: dict[str, Any] = {name: value for name, value in zip(_SHAPE, values) if value is not None}
        if sources is not None:
            if not isinstance(sources, Mapping):
                raise ConfigurationError(f"sources: expected a mapping of names to sources, got {shown(sources)}")
            fields["source"] = [_source(name, source) for name, source in sources.items()]
        if stages is not None:
            fields["stage"] = [_stage(number, stage) for number, stage in enumerate(items("stages", stages))]
        if description is not None and fields:
            raise ConfigurationError(
                f"Mixture: expected a description or keywords, got both (keyword {next(iter(fields))})"
            )
        base = os.getcwd()
        if isinstance(description, (str, os.PathLike)):
            text, base = read_mixture(os.path.abspath(description))
        elif description is None or isinstance(description, Mapping):
            text = _json(fields if description is None else dict(description))
        else:
            raise ConfigurationError(
                f"description: expected the path of a MIX.toml or a mapping, got {shown(description)}"
            )
        self._open(text, os.fspath(base), lazily=not check)

    def _open(self, description: str, base: str, lazily: bool) -> None:
        self._description = description
        self._base = base
        self._core = MixtureCore(description, base, lazily)
        self._process = os.getpid()

    def _here(self) -> MixtureCore:
        """The open mixture of this process: a forked process may have copied locks that are held."""
        if self._process != os.getpid():
            self._reopen()
        return self._core

    def _reopen(self) -> None:
        before = self._core.state(0)
        self._open(self._description, self._base, lazily=True)
        self._core.resume(before)

    def __getstate__(self) -> dict[str, str]:
        return {"description": self._description, "base": self._base, "state": self._here().state(0)}

    def __setstate__(self, state: dict[str, str]) -> None:
        self._open(state["description"], state["base"], lazily=True)
        # A corpus that has changed since is refused; the error names the difference.
        self._core.resume(state["state"])

    def __repr__(self) -> str:
        return (
            f"Mixture of {', '.join(self.sources)}: sequence_length {self.sequence_length}, "
            f"batch_size {self.batch_size}, seed {self.seed}"
        )

    @property
    def sequence_length(self) -> int:
        """T, in tokens."""
        return self._core.sequence_length

    @property
    def batch_size(self) -> int:
        """B, in sequences, over all ranks."""
        return self._core.batch_size

    @property
    def seed(self) -> int:
        """The random seed of the data's order."""
        return self._core.seed

    @property
    def sources(self) -> list[str]:
        """The sources' names; a batch's ``source`` counts in this order."""
        return self._core.sources

    @property
    def vocab_size(self) -> int:
        """The vocabulary size: every id of every source is smaller."""
        return self._core.vocab_size

    @property
    def is_labelled(self) -> bool:
        """Whether a source has a loss mask."""
        return self._core.is_labelled

    def steps(self, length: int | str) -> int:
        """The steps of a length: a number of steps, ``"1B tokens"``, ``"64k sequences"``, ``"2 epochs"`` of
        the first source or ``"2 epochs of math"``; the last step whole.

        Raises:
            ConfigurationError: no such length, or a source would pass its ``max_epochs``.
        """
        return self._here().steps(str(length))

    def plan(self, length: int | str) -> dict[str, Any]:
        """What a run of this length would deliver, before it costs anything: per source (and stage) the
        share that was asked for and the share delivered, sequences, tokens, unique tokens, epochs, from
        which slot on it repeats, and the largest deviation."""
        plan: dict[str, Any] = json.loads(self._here().plan(self.steps(length)))
        return plan

    def order(self, start: int, end: int) -> dict[str, np.ndarray]:
        """The content of the slots from ``start`` to ``end`` (excluded): arrays ``slot``, ``source``,
        ``sequence``, ``epoch`` and ``start_token``, each (end − start,)."""
        return self._here().order(whole("start", start, 1 << 63), whole("end", end, 1 << 63))


def whole(name: str, value: Any, largest: int = (1 << 32) - 1) -> int:
    """An argument as an integer from 0 to ``largest``.

    Raises:
        ConfigurationError: the value is something else.
    """
    if not hasattr(value, "__index__") or not 0 <= value.__index__() <= largest:
        raise ConfigurationError(f"{name}: expected a whole number from 0 to {largest}, got {shown(value)}")
    return int(value.__index__())


def path_of(name: str, value: Any) -> str:
    """Returns an argument as one path: text, or an object that ``os.fspath`` turns into text.

    Raises:
        ConfigurationError: the value is something else.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return value
    raise ConfigurationError(f"{name}: expected a path, got {shown(value)}")


def paths_of(name: str, values: Any) -> list[str]:
    """Returns an argument that may be one path or several as a list; a string is one path.

    Raises:
        ConfigurationError: the value is something else.
    """
    if isinstance(values, (str, os.PathLike)):
        values = [values]
    return [path_of(f"{name}[{number}]", value) for number, value in enumerate(items(name, values))]


def texts_of(name: str, values: Any) -> list[str]:
    """Returns an argument that may be one text or several as a list; a string is one text, not its characters.

    Raises:
        ConfigurationError: the value is something else.
    """
    texts = [values] if isinstance(values, str) else list(items(name, values))
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise ConfigurationError(f"{name}[{number}]: expected text, got {shown(text)}")
    return texts


def items(name: str, values: Any) -> list[Any]:
    """Returns the items of an argument that is a list, a tuple or a similar collection.

    Raises:
        ConfigurationError: the value is text, a mapping or a table, or cannot be iterated over. Iterating over
            those gives characters, keys or column names, which nobody intends.
    """
    is_table = hasattr(values, "columns") or hasattr(values, "column_names")
    if isinstance(values, (str, bytes, Mapping)) or is_table or not isinstance(values, Iterable):
        raise ConfigurationError(f"{name}: expected a list, got {shown(values)}")
    return list(values)


def shown(value: Any) -> str:
    """A value for a message: its text if that is short, and its type if it is not a plain value."""
    if isinstance(value, str):
        return json.dumps(value if len(value) <= 60 else value[:57] + "...", ensure_ascii=False)
    text = repr(value)
    if isinstance(value, (int, float, type(None))) and len(text) <= 60:
        return text
    kind = type(value).__name__
    return f"{text} ({kind})" if len(text) <= 60 and "\n" not in text else f"a value of type {kind}"


def _source(name: Any, source: Any) -> dict[str, Any]:
    if not isinstance(name, str):
        raise ConfigurationError(f"sources: expected names that are text, got {shown(name)}")
    if isinstance(source, Mapping):
        fields = dict(source)
    elif isinstance(source, (tuple, list)) and len(source) == 2:
        fields = {"corpus": source[0], "weight": source[1]}
    else:
        raise ConfigurationError(
            f'sources[{name!r}]: expected (corpus, weight) or a mapping with "corpus", got {shown(source)}'
        )
    return {"name": name, **fields}


def _stage(number: int, stage: Any) -> dict[str, Any]:
    if not isinstance(stage, Mapping):
        raise ConfigurationError(
            f'stages[{number}]: expected a mapping such as {{"start": "50 steps", "weights": ...}}, got {shown(stage)}'
        )
    return dict(stage)


def _json(description: dict[str, Any]) -> str:
    try:
        return json.dumps(description, default=_plain, allow_nan=False)
    except ConfigurationError:
        raise
    except ValueError as error:
        raise ConfigurationError(f"Mixture: expected finite numbers, got NaN or infinity ({error})") from error
    except TypeError as error:
        raise ConfigurationError(f"Mixture: expected text as names of settings ({error})") from error


def _plain(value: Any) -> Any:
    """Paths as text, NumPy's integers as integers, exact numbers as the text of a weight."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "__index__"):
        return value.__index__()
    if isinstance(value, Rational):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, Decimal) and value.is_finite():
        # Without an exponent: "0.00001", never "1E-5".
        return format(value, "f")
    if isinstance(value, Mapping):
        return dict(value)
    raise ConfigurationError(f"Mixture: {shown(value)} cannot be part of a description")
