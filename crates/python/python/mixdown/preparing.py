"""Makes a corpus from raw text, like the command ``mixdown prepare``."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from mixdown import _mixdown
from mixdown.errors import ConfigurationError
from mixdown.mixture import path_of, paths_of, shown, texts_of


def prepare(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    tokenizer: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    holdout: str | float | None = None,
    holdout_by: str | None = None,
    holdout_input: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    near_duplicates: str | float = 0.5,
    yields: str = "holdout",
    dedup: str = "none",
    without: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    limit: int | None = None,
    min_chars: int = 0,
    seed: int = 0,
    shuffle: bool = True,
    threads: int = 0,
    bos: str | int = "auto",
    end_of_text: str | None = None,
    parse_special: bool = False,
    work_dir: str | os.PathLike[str] | None = None,
    text_field: str | None = None,
    text_separator: str | None = None,
    skip_unreadable: bool = False,
    id_field: str | None = None,
    skip_bad: int = 0,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    ignore_rules: bool = True,
    messages_field: str | None = None,
    tools_field: str | None = None,
    chat_template: str | os.PathLike[str] | None = None,
    template_date: str | None = None,
    train_on: str = "assistant",
    prompt_field: str | None = None,
    completion_field: str | None = None,
    pack: int | None = None,
    too_long: str = "error",
    progress: bool | Callable[[str, int, int], None] = True,
) -> dict[str, Any]:
    """Tokenizes documents into a corpus, byte for byte as ``mixdown prepare`` does.

    After an interruption (Ctrl-C, a kill) the same call continues the work. Memory does not grow with the
    inputs. The options are those of the command line; ``mixdown prepare --help`` describes them.

    Args:
        inputs: files, folders or patterns: JSON lines (plain, zstd, gzip), Parquet, Arrow, text.
        tokenizer: a tokenizer.json, or a model folder that contains one.
        out: the corpus folder to write.
        holdout: documents held out for validation: a share (``"1%"``, 0.01), ``"500k tokens"`` or 0. By default
            1 %, or the documents of ``holdout_input``.
        holdout_by: keep documents with the same value of this field in the same split.
        holdout_input: one file or several whose documents are the holdout.
        near_duplicates: the similarity from which a held-out document is a near-duplicate of a training document
            and moves to training: the Jaccard similarity of their sets of five consecutive words. With ``"off"``,
            near-duplicates stay in the holdout.
        yields: the side that gives up near-duplicates: ``"holdout"`` (they move to training) or ``"training"``
            (they are left out).
        dedup: documents that are left out of training because they repeat an earlier one: ``"none"``, ``"exact"``
            (equal texts up to white space) or ``"near"`` (near-duplicates as well).
        without: corpora, or files of texts: near-duplicates of their held-out documents, or of these texts, are
            left out of training; ``left-out.jsonl`` in the corpus lists them.
        limit: read only this many documents.
        min_chars: leave out documents with fewer characters.
        seed: the random seed of the document order.
        shuffle: whether to shuffle the documents.
        threads: the number of worker threads, 0 for all cores; the output is the same for any number.
        bos: the token before each document: ``"auto"``, ``"none"`` or an id.
        end_of_text: the token that ends documents, if the tokenizer does not name it.
        parse_special: encode special tokens that are written in the text as special tokens.
        work_dir: the folder for the large temporary files.
        text_field: the field with the text; dots reach into nested fields. By default ``text``, and plain text
            files are read, too.
        text_separator: the separator between documents in plain text: ``"<|endoftext|>"``, ``"\\n"``.
        skip_unreadable: leave out files of folders that cannot be read.
        id_field: the field with a document's id.
        skip_bad: the number of bad records to skip before stopping with an error.
        include, exclude: one pattern or several for the files of folders.
        ignore_rules: whether to obey the .gitignore and .ignore files of folders.
        messages_field, tools_field, chat_template, template_date, train_on: conversations, rendered with
            the model's chat template; ``train_on`` is ``"assistant"``, ``"last-turn"`` or ``"all"``.
        prompt_field, completion_field: pairs of which only the completion is a loss target.
        pack, too_long: pack whole documents into rows of this many inputs; a longer document is an
            ``"error"``, or is treated by ``"drop"`` or ``"truncate"``.
        progress: whether to show a progress bar (tqdm's, also in notebooks, if tqdm is installed), or a function
            that is called with the stage, the bytes done and the bytes in total.

    Returns:
        The report: documents and tokens of both splits, what was left out, fingerprints.

    Raises:
        ConfigurationError: impossible options, or an output folder with something else in it.
        NotFoundError: inputs or a tokenizer that do not exist.
        DataError: bad records, or a damaged tokenizer.
        KeyboardInterrupt: Ctrl-C, raised after the work has stopped at its next safe point.
    """
    options = {
        "holdout": None if holdout is None else str(holdout),
        "holdout_by": holdout_by,
        "holdout_input": paths_of("holdout_input", holdout_input),
        "near_duplicates": str(near_duplicates),
        "yields": yields,
        "dedup": dedup,
        "without": paths_of("without", without),
        "limit": limit,
        "min_chars": min_chars,
        "seed": seed,
        "shuffle": shuffle,
        "threads": threads,
        "bos": str(bos),
        "end_of_text": end_of_text,
        "parse_special": parse_special,
        "work_dir": None if work_dir is None else path_of("work_dir", work_dir),
        "text_field": text_field,
        "text_separator": text_separator,
        "skip_unreadable": skip_unreadable,
        "id_field": id_field,
        "skip_bad": skip_bad,
        "include": texts_of("include", include),
        "exclude": texts_of("exclude", exclude),
        "ignore_rules": ignore_rules,
        "messages_field": messages_field,
        "tools_field": tools_field,
        "chat_template": None if chat_template is None else path_of("chat_template", chat_template),
        "template_date": template_date,
        "train_on": train_on,
        "prompt_field": prompt_field,
        "completion_field": completion_field,
        "pack": pack,
        "too_long": too_long,
    }
    paths = paths_of("inputs", inputs)
    if not paths:
        raise ConfigurationError("inputs: expected at least one file, folder or pattern, got none")
    meter = progress if callable(progress) else _Meter() if progress else None
    try:
        report = _mixdown.prepare(
            paths, path_of("tokenizer", tokenizer), path_of("out", out), _options_text(options), meter
        )
    finally:
        if isinstance(meter, _Meter):
            meter.close()
    result: dict[str, Any] = json.loads(report)
    if result["left_out"]:
        named = ", ".join(f"{file['name']} ({file['reason']})" for file in result["left_out"][:5])
        count = result["skipped_files"]
        warnings.warn(f"prepare: files of folders left out: {count}: {named}", stacklevel=2)
    if result["modified_inputs"]:
        named = ", ".join(result["modified_inputs"][:5])
        warnings.warn(f"prepare: modified after the corpus was written, with the same length: {named}", stacklevel=2)
    return result


def _options_text(options: dict[str, Any]) -> str:
    for name, value in options.items():
        if hasattr(value, "__index__") and not isinstance(value, (bool, int)):
            # NumPy's integers.
            options[name] = value.__index__()
        elif not isinstance(value, (str, int, list, type(None))):
            raise ConfigurationError(f"{name}: expected text or a whole number, got {shown(value)}")
    return json.dumps(options)


class _Meter:
    """Shows progress: tqdm's bar if it is installed, else a line every few seconds."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None
        self._shown = time.monotonic()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage:
            self.close()
            self._stage = stage
            self._bar = _bar(stage)
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._shown > 5:
            self._shown = time.monotonic()
            print(f"prepare: {stage} {done / 1e6:.1f} of {total / 1e6:.1f} MB", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _bar(stage: str) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm(desc=stage, unit="B", unit_scale=True, leave=False)
