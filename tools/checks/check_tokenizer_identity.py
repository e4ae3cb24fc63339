"""Checks ids against Hugging Face tokenizers 0.23, the oracle: every document, every tokenizer.

    pip install 'tokenizers==0.23.*' numpy zstandard
    cargo build --release -p mixdown
    python tools/checks/make_check_texts.py TEXTS
    python tools/checks/make_check_tokenizers.py TOKENIZERS --text ..
    python tools/checks/check_tokenizer_identity.py --tokenizers TOKENIZERS --inputs CORPORA TEXTS

Each input (a .jsonl, .jsonl.zst or .jsonl.gz, or every such file of a folder) is prepared with each
tokenizer (a tokenizer.json, or every .json of a folder) by the command line tool, with special
tokens in the text as plain text and with --parse-special, and every document of the corpus is
compared with what the oracle makes of its text: prefix, ids, end of text. The .bin and .idx files are
decoded here directly, by the layout of docs/format.md. A lone surrogate in a JSON escape is U+FFFD
for both. Prints documents, ids and differences for each tokenizer, input and mode; exits 1 if there
are any.

--every N takes each N-th document of the inputs named by --sample (all by default); --modes plain leaves
the other mode out; --only GLOB picks tokenizers by name.
"""

import argparse
import fnmatch
import gzip
import io
import json
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import numpy
import tokenizers
import zstandard

SURROGATES = re.compile("[\ud800-\udfff]")
DTYPES = {8: numpy.dtype("<u2"), 4: numpy.dtype("<i4")}
SUFFIXES = (".jsonl", ".jsonl.zst", ".jsonl.gz")


def lines(path):
    """The lines of a JSON lines file."""
    raw = open(path, "rb")
    head = raw.read(4)
    raw.seek(0)
    if head == b"\x28\xb5\x2f\xfd":
        raw = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    elif head[:2] == b"\x1f\x8b":
        raw = gzip.open(raw)
    yield from io.TextIOWrapper(raw, encoding="utf-8", newline="\n")


def texts(path, field):
    """The text of every record of a JSON lines file, empty texts left out."""
    for line in lines(path):
        if line.strip():
            text = json.loads(line)[field]
            if text:
                yield SURROGATES.sub("\ufffd", text)


def documents(corpus, manifest):
    """The ids of every training document, straight from .idx and .bin."""
    for shard in manifest["train"]["shards"]:
        base = corpus / "train" / shard["file"]
        index = base.with_suffix(".idx").read_bytes()
        magic, version, code, sequences, _ = struct.unpack_from("<9sQBQQ", index)
        assert (magic, version) == (b"MMIDIDX\0\0", 1), (magic, version)
        lengths = numpy.frombuffer(index, "<i4", sequences, 34)
        offsets = numpy.frombuffer(index, "<i8", sequences, 34 + 4 * sequences)
        ids = numpy.memmap(base.with_suffix(".bin"), DTYPES[code], "r")
        for length, offset in zip(lengths, offsets):
            start = offset // DTYPES[code].itemsize
            yield ids[start : start + length]


def batches(items, characters):
    """Runs of items of about so many characters."""
    batch, size = [], 0
    for item in items:
        batch.append(item)
        size += len(item)
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def prepare(arguments, tokenizer, path, out, mode):
    """Makes the corpus; what the tool has to say about the tokenizer goes to stderr."""
    command = [arguments.mixdown, "prepare", path, "--tokenizer", tokenizer, "--out", out, "--no-shuffle"]
    command += ["--holdout", "0", "--bos", "none", "--end-of-text", "0", "--text-field", arguments.text_field]
    command += ["--parse-special"] if mode == "parse" else []
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it failed")
    return json.loads((out / "manifest.json").read_text())


def compare(oracle, corpus, manifest, path, field, show):
    """Documents, ids and differences of one corpus; how far the oracle's own speed allows."""
    ours = documents(corpus, manifest)
    suffix = [manifest["end_of_text"]]
    compared = ids = differences = 0
    for batch in batches(texts(path, field), 1_000_000):
        for text, encoding in zip(batch, oracle.encode_batch_fast(batch, add_special_tokens=False)):
            if not encoding.ids:
                continue
            expected = encoding.ids + suffix
            got = next(ours, None)
            compared += 1
            ids += len(expected)
            if got is None or not numpy.array_equal(got, expected):
                differences += 1
                if differences <= show:
                    first = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), -1) if got is not None else -1
                    print(f"  document {compared - 1} differs from id {first} on: {text[:60]!r}", flush=True)
    return compared, ids, differences, sum(1 for _ in ours)


def files_of(paths, suffixes):
    """The files themselves and the fitting ones of folders."""
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.iterdir() if p.name.endswith(suffixes))
        else:
            yield path


def sampled(paths, every, picked, work):
    """The inputs, the sampled ones as new files of each N-th record."""
    for path in paths:
        if every == 1 or not any(fnmatch.fnmatch(path.name, pattern) for pattern in picked):
            yield path, path.name
            continue
        name = f"{path.name.split('.')[0]}.jsonl"
        (work / "inputs").mkdir(exist_ok=True)
        with open(work / "inputs" / name, "w", encoding="utf-8", newline="\n") as out:
            out.writelines(line for i, line in enumerate(lines(path)) if i % every == 0)
        yield work / "inputs" / name, f"{path.name} 1/{every}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizers", nargs="+", type=pathlib.Path, required=True)
    parser.add_argument("--inputs", nargs="+", type=pathlib.Path, required=True)
    parser.add_argument("--mixdown", type=pathlib.Path, default=pathlib.Path("target/release/mixdown"))
    parser.add_argument("--modes", default="plain,parse")
    parser.add_argument("--only", default="*")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--sample", nargs="*", default=["*"])
    parser.add_argument("--show", type=int, default=3)
    parser.add_argument("--text-field", default="text")
    arguments = parser.parse_args()

    print(f"oracle: tokenizers {tokenizers.__version__}")
    work = pathlib.Path(tempfile.mkdtemp(prefix="mixdown-identity-"))
    wrong = total_documents = total_ids = 0
    try:
        inputs = list(sampled(files_of(arguments.inputs, SUFFIXES), arguments.every, arguments.sample, work))
        chosen = [p for p in files_of(arguments.tokenizers, (".json",)) if fnmatch.fnmatch(p.stem, arguments.only)]
        for path in chosen:
            oracle = tokenizers.Tokenizer.from_file(str(path))
            oracle.no_truncation()
            oracle.no_padding()
            for text_path, name in inputs:
                for mode in arguments.modes.split(","):
                    oracle.encode_special_tokens = mode == "plain"
                    out, began = work / "corpus", time.monotonic()
                    try:
                        manifest = prepare(arguments, path, text_path, out, mode)
                        counts = compare(oracle, out, manifest, text_path, arguments.text_field, arguments.show)
                    except RuntimeError as error:
                        print(f"{path.stem}, {name}, {mode}: not prepared: {error}", flush=True)
                        wrong += 1
                        continue
                    finally:
                        shutil.rmtree(out, ignore_errors=True)
                    compared, ids, differences, more = counts
                    wrong += differences + more
                    total_documents += compared
                    total_ids += ids
                    extra = f", {more} more in the corpus" if more else ""
                    seconds = time.monotonic() - began
                    print(
                        f"{path.stem}, {name}, {mode}: {compared} documents, {ids} ids, "
                        f"{differences} differ{extra} ({seconds:.0f} s)",
                        flush=True,
                    )
        print(f"{len(chosen)} tokenizers: {total_documents} documents, {total_ids} ids, {wrong} differ")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(1 if wrong or not total_documents else 0)


if __name__ == "__main__":
    main()
