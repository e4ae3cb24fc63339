"""A corpus on disk, as NumPy views of its token files."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, overload

from mixdown._mixdown import CorpusCore
from mixdown.errors import ConfigurationError
from mixdown.mixture import items, path_of, shown

if TYPE_CHECKING:
    import numpy as np


class Corpus:
    """One split of a corpus that ``mixdown prepare`` or ``mixdown import`` made: a sequence of documents.

    ``len(corpus)`` is the number of documents and ``corpus[i]`` the ids of one: a read-only view of the
    mapped file, (tokens,), uint16 or uint32, without a copy. Ids are not checked; ``mixdown verify`` checks them.

    Args:
        path: the corpus folder.
        split: ``"train"`` or ``"holdout"``.

    Raises:
        NotFoundError: the corpus or one of its files is missing.
        DataError: the manifest is damaged, or a file has the wrong size.
    """

    def __init__(self, path: str | os.PathLike[str], split: str = "train") -> None:
        self.path = os.path.abspath(path_of("path", path))
        if split not in ("train", "holdout"):
            raise ConfigurationError(f'split: expected "train" or "holdout", got {shown(split)}')
        self.split = split
        self._core = CorpusCore(self.path, split)
        self._files = self._core.files()
        self._starts = list(accumulate((tokens for _, _, tokens in self._files), initial=0))
        self._shards: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self._core.documents

    @overload
    def __getitem__(self, document: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, document: slice) -> list[np.ndarray]: ...
    def __getitem__(self, document: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(document, slice):
            return [self[i] for i in range(*document.indices(len(self)))]
        start, end = self._core.document(self._index(document))
        shard = bisect_right(self._starts, start) - 1
        first = self._starts[shard]
        return self.shard(shard)[start - first : end - first]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Corpus({self.path!r}, {self.split!r}): {self.num_tokens} tokens in {len(self)} documents"

    def __reduce__(self) -> tuple[type[Corpus], tuple[str, str]]:
        return Corpus, (self.path, self.split)

    def _index(self, document: int) -> int:
        if not hasattr(document, "__index__"):
            raise TypeError(f"document: expected a whole number or a slice, got {shown(document)}")
        index = document.__index__()
        if not -len(self) <= index < len(self):
            raise IndexError(f"document {index} of {len(self)} in {self.path}")
        return index % len(self)

    @property
    def num_shards(self) -> int:
        """The number of token files of the split."""
        return len(self._files)

    def shard(self, number: int) -> np.ndarray:
        """All ids of one shard, one document after another: a read-only view, (tokens,)."""
        import numpy as np

        if number not in self._shards:
            path, header_bytes, tokens = self._files[number]
            mapped = np.memmap(path, self._core.dtype, "r", header_bytes, (tokens,))
            # A plain array over the map: slicing it takes a tenth of the time of slicing a memmap.
            self._shards[number] = mapped.view(np.ndarray)
        return self._shards[number]

    @property
    def num_tokens(self) -> int:
        """The number of ids of all documents, including end-of-text ids."""
        return self._core.tokens

    @property
    def num_loss_tokens(self) -> int:
        """The number of ids that are loss targets: all of them if the corpus has no labels."""
        return self._core.loss_tokens

    @property
    def text_bytes(self) -> int:
        """The size of the text in UTF-8, in bytes."""
        return self._core.text_bytes

    @property
    def is_labelled(self) -> bool:
        """Whether the corpus has a loss mask."""
        return self._core.is_labelled

    @property
    def vocab_size(self) -> int:
        """The vocabulary size: every id is smaller."""
        return self._core.vocab_size

    @property
    def end_of_text(self) -> int:
        """The id that ends every document."""
        return self._core.end_of_text

    @property
    def fingerprint(self) -> str:
        """A hash of the data: corpora with equal fingerprints give equal streams."""
        return self._core.fingerprint

    @property
    def dtype(self) -> str:
        """The type of the stored ids, ``"uint16"`` or ``"uint32"``."""
        return {"<u2": "uint16", "<u4": "uint32"}[self._core.dtype]

    def lengths(self) -> np.ndarray:
        """The documents' lengths in ids, (documents,), uint32."""
        return self._core.lengths()

    def loss_mask(self, document: int) -> np.ndarray:
        """Which ids of a document are loss targets, (tokens,), uint8: 1 or 0."""
        return self._core.loss_mask(self._index(document))

    def document_id(self, document: int) -> str | None:
        """The id that the document had in the input, if the corpus keeps ids (``id_field``) and it had one."""
        return self._core.document_id(self._index(document))

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of ids, decoded with the corpus' tokenizer; special tokens are spelled out."""
        checked = []
        for place, number in enumerate(items("ids", ids)):
            if not hasattr(number, "__index__") or not 0 <= number.__index__() < 1 << 32:
                raise ConfigurationError(f"ids[{place}]: expected a whole number below 2^32, got {shown(number)}")
            checked.append(number.__index__())
        return self._core.decode(checked)
