"""Writes testdata/interchange: token files made by the packages whose formats mixdown adopts.

    pip install megatron-core datatrove ai2-olmo-core torch numpy
    python tools/golden/make_interchange_golden.py testdata/interchange

The documents are a plain sequence that crates/shards/tests/it/interchange.rs computes again. llm.c
and nanoGPT have no package; their files are the few lines of numpy that their scripts have.
"""

import pathlib
import sys
import warnings

import numpy
import torch

warnings.filterwarnings("ignore")

from datatrove.pipeline.tokens.tokenizer import TokenizedFile  # noqa: E402
from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder  # noqa: E402
from olmo_core.data.utils import write_document_indices  # noqa: E402

END = 7
VOCABULARY = 1000


def documents(end_first=False):
    """Nine documents of 3 to 27 ids, each ended (or begun) by END, which is nowhere else in them."""
    made = []
    state = 1
    for number in range(9):
        ids = []
        for _ in range(2 + 3 * number):
            state = (state * 1103515245 + 12345) % 2**31
            ids.append(8 + state // 65536 % (VOCABULARY - 8))
        made.append([END, *ids] if end_first else [*ids, END])
    return made


def loss_mask(ids):
    """Every third id is a target."""
    return [place % 3 == 2 for place in range(len(ids))]


def megatron(folder, name, dtype, sequences_per_document):
    builder = IndexedDatasetBuilder(str(folder / f"{name}.bin"), dtype=dtype)
    for ids in documents():
        step = -(-len(ids) // sequences_per_document)
        parts = [ids[start : start + step] for start in range(0, len(ids), step)]
        for part in parts:
            builder.add_item(torch.tensor(part))
        builder.end_document()
    builder.finalize(str(folder / f"{name}.idx"))


def datatrove(folder, name, token_size, with_loss):
    file = TokenizedFile(
        str(folder),
        f"{name}.ds",
        save_loss_metadata=with_loss,
        tokenizer_name_or_path="golden",
        save_final_metadata=True,
        token_size=token_size,
    )
    for ids in documents():
        file.write(ids, numpy.array(loss_mask(ids)) if with_loss else None)
    file.close()


def olmo(folder, name, dtype):
    ids = numpy.concatenate([numpy.array(ids) for ids in documents()]).astype(dtype)
    path = folder / f"{name}.npy"
    file = numpy.memmap(path, mode="w+", dtype=dtype, shape=ids.shape)
    file[:] = ids
    file.flush()
    write_document_indices(path, dtype=dtype, eos_token_id=END)


def llmc(folder, name, dtype, magic, version):
    ids = numpy.concatenate([numpy.array(ids) for ids in documents(end_first=True)])
    header = numpy.zeros(256, dtype=numpy.int32)
    header[:3] = magic, version, len(ids)
    with open(folder / f"{name}.bin", "wb") as file:
        file.write(header.tobytes())
        file.write(ids.astype(dtype).tobytes())


def main():
    root = pathlib.Path(sys.argv[1])
    folders = {name: root / name for name in ["megatron", "datatrove", "olmo", "llmc", "nanogpt", "npy"]}
    for folder in folders.values():
        folder.mkdir(parents=True)
    megatron(folders["megatron"], "int32", numpy.int32, 1)
    megatron(folders["megatron"], "uint16", numpy.uint16, 1)
    megatron(folders["megatron"], "sentences", numpy.uint16, 3)
    datatrove(folders["datatrove"], "two_bytes", 2, with_loss=True)
    datatrove(folders["datatrove"], "four_bytes", 4, with_loss=False)
    olmo(folders["olmo"], "part-0-00000", numpy.uint16)
    olmo(folders["olmo"], "wide-0-00000", numpy.uint32)
    llmc(folders["llmc"], "gpt2_train_000000", numpy.uint16, 20240520, 1)
    llmc(folders["llmc"], "llama3_train_000000", numpy.uint32, 20240801, 7)
    ids = numpy.concatenate([numpy.array(ids) for ids in documents()])
    ids.astype(numpy.uint16).tofile(folders["nanogpt"] / "train.bin")
    ids[:40].astype(numpy.uint16).tofile(folders["nanogpt"] / "val.bin")
    numpy.save(folders["npy"] / "ids.npy", ids.astype(numpy.uint16))
    numpy.save(folders["npy"] / "wide.npy", ids.astype(numpy.int32))


if __name__ == "__main__":
    main()
