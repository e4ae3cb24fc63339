#!/usr/bin/env python3
"""Prepares a corpus with Ray: tasks that call `mixdown prepare --task`, then `--finish`.

usage: tools/prepare_with_ray.py --tasks 8 --cpus 2 -- mixdown prepare INPUT.. --tokenizer T --out CORPUS

The nodes must see the inputs, the tokenizer and the output under the same paths. A task that dies with its
node is started again by Ray; what it had finished stays, and the other tasks take over the rest anyway.
"""

import argparse
import subprocess

import ray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--cpus", type=int, default=2, help="threads of a task")
    parser.add_argument("command", nargs="+", help="after --: the call without --task and --finish")
    arguments = parser.parse_args()
    ray.init(ignore_reinit_error=True)

    @ray.remote(num_cpus=arguments.cpus, max_retries=5, retry_exceptions=True)
    def prepare(index: int) -> str:
        task = ["--task", f"{index}/{arguments.tasks}", "--threads", str(arguments.cpus)]
        done = subprocess.run([*arguments.command, *task], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    for line in ray.get([prepare.remote(index) for index in range(arguments.tasks)]):
        print(line)
    subprocess.run([*arguments.command, "--finish"], check=True)


if __name__ == "__main__":
    main()
