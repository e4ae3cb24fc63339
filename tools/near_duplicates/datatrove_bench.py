"""Times deduplication by datatrove's MinHash pipeline and by `mixdown prepare --dedup near` on the same documents.

    python datatrove_bench.py INPUT.jsonl --work FOLDER [--workers 2] [--rounds 1] [--limit N]
                              [--mixdown target/release/mixdown --tokenizer tokenizer.json]

datatrove runs its four stages (signatures, buckets, clusters, filter) with its default settings: five words a
shingle, 14 buckets of 8 hashes, which finds documents of a similarity of about 0.75; JSON lines are its input and
output. Its workers are forked, which spares them the imports. mixdown does the whole of `prepare` at 0.75, which also
tokenizes, shuffles and writes shards; a second run without --dedup tells what deduplication costs. The making of the
input is not timed, the start of processes is. Seconds of the clock are followed by those of processors, which other
work on the machine changes less.
Needs datatrove[processing] and spacy.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import time
from pathlib import Path

# A word processor of datatrove's; the language of its default.
LANGUAGE = "eng"


def split(path: Path, folder: Path, parts: int, limit: int) -> int:
    """Deals the documents to as many files as there are workers, which is how datatrove's tasks share them."""
    folder.mkdir(parents=True)
    files = [(folder / f"{part:02}.jsonl").open("w", encoding="utf-8") for part in range(parts)]
    count = 0
    with path.open(encoding="utf-8") as lines:
        for count, line in zip(range(1, limit + 1), lines, strict=False):
            text = json.dumps({"text": json.loads(line)["text"], "id": str(count)}, ensure_ascii=False)
            files[count % parts].write(text + "\n")
    for file in files:
        file.close()
    return count


def datatrove(inputs: Path, work: Path, workers: int) -> dict[str, float]:
    """Runs the four stages and returns the seconds of each."""
    # Not at the top: the forked workers of every stage would import it again, and --mixdown alone needs none of it.
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    config, reader = MinhashConfig(n_grams=5), JsonlReader(str(inputs))
    signatures, buckets, removed = (str(work / name) for name in ("signatures", "buckets", "removed"))
    stages = {
        "signatures": ([reader, MinhashDedupSignature(signatures, config=config, language=LANGUAGE)], workers),
        "buckets": ([MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets),
        "clusters": ([MinhashDedupCluster(buckets, removed, config=config)], 1),
        "filter": ([reader, MinhashDedupFilter(removed), JsonlWriter(str(work / "output"), compression=None)], workers),
    }
    seconds = {}
    for name, (pipeline, tasks) in stages.items():
        begin = time.perf_counter()
        logs = str(work / "logs" / name)
        LocalPipelineExecutor(
            pipeline, tasks=tasks, workers=min(workers, tasks), logging_dir=logs, start_method="fork"
        ).run()
        seconds[name] = time.perf_counter() - begin
    return seconds


def mixdown(binary: Path, tokenizer: Path, inputs: Path, out: Path, threads: int, dedup: str | None) -> float:
    """Prepares the documents and returns the seconds."""
    command = [binary, "prepare", *sorted(inputs.iterdir()), "--tokenizer", tokenizer, "--out", out]
    command += ["--threads", str(threads), "--holdout", "0", "--near-duplicates", "0.75"]
    command += ["--dedup", dedup] if dedup else []
    begin = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def processor_seconds() -> float:
    """Returns the seconds of processors of this process and of the children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def lines(folder: Path) -> int:
    """Returns the number of lines of a folder's files."""
    return sum(file.read_bytes().count(b"\n") for file in folder.iterdir())


def main() -> None:
    """Prints seconds of every round, and how many documents are left."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("input", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--limit", type=int, default=10**9)
    parser.add_argument("--mixdown", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--no-datatrove", action="store_true")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    inputs = arguments.work / "input"
    count = split(arguments.input, inputs, arguments.workers, arguments.limit)
    megabytes = sum(file.stat().st_size for file in inputs.iterdir()) / 1e6
    print(f"{count} documents, {megabytes:.0f} MB of JSON lines, {arguments.workers} workers", flush=True)
    for round_ in range(arguments.rounds):
        work = arguments.work / f"round-{round_}"
        if arguments.mixdown:
            for dedup in ("near", None):
                out, before = work / f"mixdown-{dedup}", processor_seconds()
                seconds = mixdown(arguments.mixdown, arguments.tokenizer, inputs, out, arguments.workers, dedup)
                tell(f"mixdown prepare, --dedup {dedup}", seconds, before, "")
        if not arguments.no_datatrove:
            before = processor_seconds()
            seconds = datatrove(inputs, work / "datatrove", arguments.workers)
            each = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
            left = lines(work / "datatrove" / "output")
            tell("datatrove", sum(seconds.values()), before, f" ({each}), {left} documents left")


def tell(name: str, seconds: float, before: float, more: str) -> None:
    """Prints one measurement."""
    used = processor_seconds() - before
    print(f"{name}: {seconds:.2f} s, processors {used:.2f} s, load {os.getloadavg()[0]:.1f}{more}", flush=True)


if __name__ == "__main__":
    main()
