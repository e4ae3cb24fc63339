"""Checks that Megatron-core reads a corpus, document by document, with equal ids.

    pip install megatron-core torch numpy
    python tools/checks/check_megatron.py CORPUS

Opens every shard of both splits with megatron.core's IndexedDataset, mapped and unmapped, and
compares each document's ids with those decoded here directly from .idx and .bin (docs/format.md),
and the counts with the manifest's. Prints counts; exits 1 if anything differs.
"""

import argparse
import json
import pathlib
import struct
import sys
import warnings

import numpy

warnings.filterwarnings("ignore")

from megatron.core.datasets.indexed_dataset import IndexedDataset  # noqa: E402


def decode(base):
    """Lengths and byte offsets of the documents, and all ids."""
    dtypes = {8: numpy.dtype("<u2"), 4: numpy.dtype("<i4")}
    index = base.with_suffix(".idx").read_bytes()
    magic, version, code, sequences, starts = struct.unpack_from("<9sQBQQ", index)
    assert (magic, version) == (b"MMIDIDX\0\0", 1), (magic, version)
    assert starts == sequences + 1, (starts, sequences)
    assert len(index) == 34 + 12 * sequences + 8 * starts, len(index)
    lengths = numpy.frombuffer(index, "<i4", sequences, 34)
    offsets = numpy.frombuffer(index, "<i8", sequences, 34 + 4 * sequences)
    documents = numpy.frombuffer(index, "<i8", starts, 34 + 12 * sequences)
    return lengths, offsets, documents, numpy.fromfile(base.with_suffix(".bin"), dtypes[code])


def check_shard(base, record, mapped):
    """How many documents of a shard differ, its documents and its tokens."""
    lengths, offsets, starts, ids = decode(base)
    dataset = IndexedDataset(str(base), mmap=mapped)
    differences = int(len(dataset) != len(lengths) or len(dataset) != record["documents"])
    differences += int(not numpy.array_equal(dataset.document_indices, starts))
    differences += int(not numpy.array_equal(dataset.sequence_lengths, lengths))
    differences += int(len(ids) != record["tokens"])
    for number in range(len(dataset)):
        start = offsets[number] // ids.itemsize
        expected = ids[start : start + lengths[number]]
        differences += int(not numpy.array_equal(dataset[number], expected))
    return differences, len(dataset), int(lengths.sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=pathlib.Path)
    corpus = parser.parse_args().corpus
    manifest = json.loads((corpus / "manifest.json").read_text())
    failed = False
    for split in ["train", "holdout"]:
        for mapped in [True, False]:
            differences = documents = tokens = 0
            for record in manifest[split]["shards"]:
                found = check_shard(corpus / split / record["file"], record, mapped)
                differences, documents, tokens = (
                    differences + found[0],
                    documents + found[1],
                    tokens + found[2],
                )
            print(
                f"{split}, {'mapped' if mapped else 'unmapped'}: "
                f"{len(manifest[split]['shards'])} shards, {documents} documents, "
                f"{tokens} ids, {differences} differences"
            )
            failed |= differences > 0
            failed |= (documents, tokens) != (
                manifest[split]["documents"],
                manifest[split]["tokens"],
            )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
