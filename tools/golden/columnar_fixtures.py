"""Writes the Parquet and Arrow files that crates/documents reads in its tests.

    python tools/golden/columnar_fixtures.py testdata/documents     (pyarrow 20 or newer)

Every file holds the same 50 rows: id, text, repo, meta.text and messages. The files are committed,
so the tests need no Python; made anew they may differ in bytes, not in rows.
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 50


def text(row):
    return f"row {row}: " + "".join(chr(97 + (row * 7 + i) % 26) for i in range(row * 11 % 90)) + " é😀\n"


def table(string=pa.string(), integer=pa.int64()):
    messages = [
        [
            {"role": "user", "content": f"question {row}", "weight": None},
            {"role": "assistant", "content": text(row), "weight": row / 4},
        ][: row % 3]
        for row in range(ROWS)
    ]
    message = pa.struct({"role": string, "content": string, "weight": pa.float64()})
    meta = [{"text": f"nested {row}", "n": row} if row % 10 else None for row in range(ROWS)]
    return pa.table(
        {
            "id": pa.array(range(1000, 1000 + ROWS), integer),
            "text": pa.array([text(row) for row in range(ROWS)], string),
            "repo": pa.array([f"repo-{row // 20}" for row in range(ROWS)]).dictionary_encode(),
            "meta": pa.array(meta, pa.struct({"text": string, "n": pa.int32()})),
            "messages": pa.array(messages, pa.list_(message)),
        }
    )


def write_arrow(path, data, stream, **options):
    options = pa.ipc.IpcWriteOptions(**options)
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(path, data.schema, options=options) as writer:
        writer.write_table(data, max_chunksize=12)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for codec in ["none", "snappy", "zstd", "gzip", "lz4"]:
        pq.write_table(table(), folder / f"{codec}.parquet", compression=codec, row_group_size=17)
    pq.write_table(
        table(pa.large_string(), pa.int32()),
        folder / "pages-v2.parquet",
        compression="zstd",
        data_page_version="2.0",
        data_page_size=256,
        write_page_index=True,
        use_dictionary=False,
    )
    write_arrow(folder / "strings.arrow", table(), stream=False)
    write_arrow(folder / "large.arrow", table(pa.large_string(), pa.uint16()), stream=False, compression="zstd")
    write_arrow(folder / "views.arrow", table(pa.string_view()), stream=False, compression="lz4")
    write_arrow(folder / "stream.arrows", table(), stream=True)
    write_arrow(folder / "stream-lz4.arrows", table(pa.large_string()), stream=True, compression="lz4")


main(Path(sys.argv[1]))
