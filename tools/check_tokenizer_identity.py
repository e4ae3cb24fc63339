"""Checks every document of a corpus against Hugging Face tokenizers 0.23, the oracle.

    pip install 'tokenizers==0.23.*' numpy zstandard
    mixdown prepare A.jsonl.zst B.jsonl --tokenizer TOKENIZER.json --out CORPUS \
        --no-shuffle --holdout 0
    python tools/check_tokenizer_identity.py CORPUS A.jsonl.zst B.jsonl

The inputs are given in the same order. Each document is encoded by the oracle with the corpus' own
tokenizer.json, without special tokens around it and with special tokens in the text as plain text;
the corpus' prefix and end-of-text id are put around it, and the result is compared with the
corpus' document of the same number. Prints documents, ids and differences; exits 1 if there are
any. The .bin and .idx files are decoded here directly, by the layout of docs/format.md.
"""

import argparse
import gzip
import io
import json
import pathlib
import struct
import sys

import numpy
import tokenizers
import zstandard


def texts(path, field):
    """The text of every record of a JSON lines file, empty texts left out."""
    raw = open(path, "rb")
    head = raw.read(4)
    raw.seek(0)
    if head == b"\x28\xb5\x2f\xfd":
        raw = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    elif head[:2] == b"\x1f\x8b":
        raw = gzip.open(raw)
    for line in io.TextIOWrapper(raw, encoding="utf-8", newline="\n"):
        if line.strip():
            text = json.loads(line)[field]
            if text:
                yield text


def documents(corpus, manifest):
    """The ids of every training document, straight from .idx and .bin."""
    dtypes = {8: numpy.dtype("<u2"), 4: numpy.dtype("<i4")}
    for shard in manifest["train"]["shards"]:
        base = corpus / "train" / shard["file"]
        index = base.with_suffix(".idx").read_bytes()
        magic, version, code, sequences, _ = struct.unpack_from("<9sQBQQ", index)
        assert (magic, version) == (b"MMIDIDX\0\0", 1), (magic, version)
        lengths = numpy.frombuffer(index, "<i4", sequences, 34)
        offsets = numpy.frombuffer(index, "<i8", sequences, 34 + 4 * sequences)
        ids = numpy.memmap(base.with_suffix(".bin"), dtypes[code], "r")
        for length, offset in zip(lengths, offsets):
            start = offset // dtypes[code].itemsize
            yield ids[start : start + length]


def batches(items, count):
    """Runs of at most `count` items."""
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == count:
            yield batch
            batch = []
    if batch:
        yield batch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("inputs", nargs="+", type=pathlib.Path)
    parser.add_argument("--text-field", default="text")
    arguments = parser.parse_args()

    manifest = json.loads((arguments.corpus / "manifest.json").read_text())
    oracle = tokenizers.Tokenizer.from_file(str(arguments.corpus / "tokenizer.json"))
    oracle.encode_special_tokens = True
    oracle.no_truncation()
    oracle.no_padding()
    prefix = manifest["beginning_of_text"]
    prefix = [] if prefix is None else [prefix]
    suffix = [manifest["end_of_text"]]

    ours = documents(arguments.corpus, manifest)
    compared = ids = differences = 0
    for path in arguments.inputs:
        for batch in batches(texts(path, arguments.text_field), 256):
            for encoding in oracle.encode_batch_fast(batch, add_special_tokens=False):
                if not encoding.ids:
                    continue
                expected = prefix + encoding.ids + suffix
                got = next(ours, None)
                compared += 1
                ids += len(expected)
                if got is None or not numpy.array_equal(got, expected):
                    differences += 1
                    if differences <= 5:
                        print(f"{path}: document {compared - 1} of the corpus differs")
    extra = sum(1 for _ in ours)
    print(
        f"tokenizers {tokenizers.__version__}: {compared} documents, {ids} ids, "
        f"{differences} documents differ, {extra} more in the corpus"
    )
    sys.exit(1 if differences or extra or compared == 0 else 0)


if __name__ == "__main__":
    main()
