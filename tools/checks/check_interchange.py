"""Checks import and export against the packages whose token files mixdown writes and adopts.

    pip install megatron-core datatrove ai2-olmo-core torch numpy
    python tools/checks/check_interchange.py target/release/mixdown CORPUS SCRATCH

CORPUS is one that `mixdown prepare` made, SCRATCH a folder that does not exist. Out: exports the
corpus to every format and reads it with megatron.core's IndexedDataset, datatrove's
DatatroveFolderDataset, olmo_core's NumpyFSLDataset and document indices; llm.c and nanoGPT have no
package, so their files are read as their own loaders read them. In: writes the same documents with
the packages, adopts them with `mixdown import`, verifies, exports to Megatron and compares every
document. Prints counts; exits 1 if anything differs.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import warnings

import numpy
import torch

warnings.filterwarnings("ignore")

from datatrove.pipeline.tokens.tokenizer import TokenizedFile  # noqa: E402
from datatrove.utils.dataset import DatatroveFolderDataset  # noqa: E402
from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder  # noqa: E402
from olmo_core.data import NumpyFSLDatasetConfig, TokenizerConfig  # noqa: E402
from olmo_core.data.utils import (  # noqa: E402
    iter_document_indices,
    load_array_slice,
    write_document_indices,
)

from check_megatron import decode

SEQUENCE = 128


def run(*words):
    """A mixdown command that must succeed; its JSON."""
    done = subprocess.run([*map(str, words), "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def documents_of(bases):
    """All documents of Megatron pairs, decoded from their bytes alone."""
    documents = []
    for base in bases:
        lengths, _, _, ids = decode(base)
        documents += numpy.split(ids.astype(numpy.int64), numpy.cumsum(lengths)[:-1])
    return documents


def equal(ours, theirs):
    """How many of two lists of documents differ."""
    differences = abs(len(ours) - len(theirs))
    return differences + sum(not numpy.array_equal(a, b) for a, b in zip(ours, theirs))


class Check:
    """Names, documents, ids and differences of each comparison."""

    def __init__(self):
        self.failed = False

    def say(self, name, documents, differences):
        ids = sum(map(len, documents))
        print(f"{name}: {len(documents)} documents, {ids} ids, {differences} differences")
        self.failed |= differences > 0


def check_out(check, mixdown, corpus, scratch, documents, end, width):
    dtype = numpy.uint16 if width == 2 else numpy.uint32
    stream = numpy.concatenate(documents)
    formats = ["megatron", "datatrove", "olmo", "llmc"] + ["nanogpt"] * (width == 2)
    for name in formats:
        run(mixdown, "export", corpus, "--to", name, "--split", "train", "--out", scratch / name)

    bases = sorted((scratch / "megatron").glob("*.bin"))
    read = []
    for base in bases:
        dataset = IndexedDataset(str(base.with_suffix("")))
        # Copies: its arrays are views of a map that ends with it.
        read += [numpy.array(dataset[number]) for number in range(len(dataset))]
    check.say("export megatron, read by megatron-core", read, equal(documents, read))

    folder = scratch / "datatrove" / "train"
    differences = 0
    start = 0
    ends = numpy.cumsum([len(ids) for ids in documents])
    dataset = DatatroveFolderDataset(
        str(folder), SEQUENCE - 1, filename_pattern="*.ds", token_size=width, return_positions=True
    )
    for file in dataset.files:
        begins = numpy.concatenate([[0], ends[(ends > start)] - start])
        for number in range(len(file)):
            item = file[number]
            at = start + number * SEQUENCE
            expected = stream[at : at + SEQUENCE]
            differences += int(not numpy.array_equal(item["input_ids"].numpy(), expected))
            inside = begins[(begins > number * SEQUENCE) & (begins < (number + 1) * SEQUENCE)]
            got = numpy.flatnonzero(item["positions"].numpy() == 0)
            expected = numpy.concatenate([[0], inside - number * SEQUENCE])
            differences += int(not numpy.array_equal(got, expected))
        start += file.fsize // width
    differences += int(start != len(stream))
    check.say("export datatrove, read by datatrove", documents, differences)

    paths = sorted(str(path) for path in (scratch / "olmo").glob("*.npy"))
    read = []
    for path in paths:
        for first, last in iter_document_indices(path, use_array_if_local=False, dtype=dtype):
            read.append(load_array_slice(path, first, last, dtype).astype(numpy.int64))
    check.say("export olmo, documents read by olmo-core", read, equal(documents, read))
    by_end = [
        load_array_slice(path, first, last, dtype).astype(numpy.int64)
        for path in paths
        for first, last in iter_document_indices(path, eos_token_id=end, dtype=dtype)
    ]
    check.say("export olmo, documents by end of text", by_end, equal(documents, by_end))
    tokenizer = TokenizerConfig(vocab_size=1 << (8 * width - 1), eos_token_id=end, pad_token_id=end)
    dataset = NumpyFSLDatasetConfig(
        paths=paths, sequence_length=SEQUENCE, tokenizer=tokenizer, dtype=dtype.__name__, work_dir=str(scratch / "olmo-work")
    ).build()
    dataset.prepare()
    differences, number, offset = 0, 0, 0
    for path in paths:
        tokens = pathlib.Path(path).stat().st_size // width
        for window in range(tokens // SEQUENCE):
            at = offset + window * SEQUENCE
            differences += int(not numpy.array_equal(dataset[number]["input_ids"].numpy(), stream[at : at + SEQUENCE]))
            number += 1
        offset += tokens
    differences += int(number != len(dataset))
    check.say("export olmo, NumpyFSLDataset", documents, differences)

    read = []
    for path in sorted((scratch / "llmc").glob("train_*.bin")):
        header = numpy.fromfile(path, numpy.int32, 256)
        magic, version = (20240520, 1) if width == 2 else (20240801, 7)
        assert (header[0], header[1]) == (magic, version), header[:3]
        ids = numpy.fromfile(path, dtype, offset=1024)
        assert header[2] == len(ids) < 2**31
        read.append(ids.astype(numpy.int64))
    begun = numpy.concatenate([numpy.concatenate([ids[-1:], ids[:-1]]) for ids in documents])
    check.say("export llmc, as its loader reads", documents, int(not numpy.array_equal(numpy.concatenate(read), begun)))
    if width == 2:
        ids = numpy.memmap(scratch / "nanogpt" / "train.bin", dtype=numpy.uint16, mode="r")
        check.say("export nanogpt, as its loader reads", documents, int(not numpy.array_equal(ids, stream)))


def write_theirs(folder, documents, end, width):
    """The documents as the packages write them; the folders."""
    dtype = numpy.uint16 if width == 2 else numpy.int32
    for name in ["megatron", "datatrove", "olmo"]:
        (folder / name).mkdir(parents=True)
    builder = IndexedDatasetBuilder(str(folder / "megatron" / "all.bin"), dtype=dtype)
    for ids in documents:
        builder.add_item(torch.tensor(ids))
        builder.end_document()
    builder.finalize(str(folder / "megatron" / "all.idx"))
    file = TokenizedFile(str(folder / "datatrove"), "all.ds", save_final_metadata=True, token_size=width)
    for ids in documents:
        file.write(ids.tolist(), None)
    file.close()
    dtype = numpy.uint16 if width == 2 else numpy.uint32
    path = folder / "olmo" / "all.npy"
    stream = numpy.concatenate(documents).astype(dtype)
    file = numpy.memmap(path, mode="w+", dtype=dtype, shape=stream.shape)
    file[:] = stream
    file.flush()
    write_document_indices(path, dtype=dtype, eos_token_id=end)


def check_in(check, mixdown, corpus, scratch, documents, end, width):
    theirs = scratch / "theirs"
    write_theirs(theirs, documents, end, width)
    # And our own exports, back again.
    folders = {f"import {name}, written by its package": theirs / name for name in ["megatron", "datatrove", "olmo"]}
    for name in ["llmc"] + ["nanogpt"] * (width == 2):
        folders[f"import {name}"] = scratch / name
    for name, folder in folders.items():
        before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        wide = ["--dtype", "uint32"] if width == 4 else []
        run(mixdown, "import", folder, "--tokenizer", corpus / "tokenizer.json", "--end-of-text", end, *wide)
        report = run(mixdown, "verify", folder)
        differences = len(report["damage"])
        differences += sum(path.read_bytes() != content for path, content in before.items())
        back = scratch / "back"
        run(mixdown, "export", folder, "--to", "megatron", "--out", back)
        read = documents_of(path.with_suffix("") for path in sorted(back.glob("train-*.bin")))
        expected = documents
        if name == "import llmc":
            expected = [numpy.concatenate([ids[-1:], ids[:-1]]) for ids in documents]
        check.say(name, read, differences + equal(expected, read))
        shutil.rmtree(back)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mixdown", type=pathlib.Path)
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("scratch", type=pathlib.Path)
    arguments = parser.parse_args()
    manifest = json.loads((arguments.corpus / "manifest.json").read_text())
    arguments.scratch.mkdir()
    bases = [arguments.corpus / "train" / shard["file"] for shard in manifest["train"]["shards"]]
    documents = documents_of(bases)
    width = 2 if manifest["dtype"] == "uint16" else 4
    check = Check()
    rest = (arguments.mixdown, arguments.corpus, arguments.scratch, documents, manifest["end_of_text"], width)
    check_out(check, *rest)
    check_in(check, *rest)
    sys.exit(1 if check.failed else 0)


if __name__ == "__main__":
    main()
