"""Times the mixer beside other loaders of the same mixture, in turn, and prints the ratios.

    cargo build --release -p mixdown-benches --example fill_speed
    python benches/mix_peers.py --mixture MIX.toml --raw results.jsonl \\
        --peer 'grain=python peer_grain.py bench --secs 2' --peer 'nanoGPT loop=python peer_memmap.py bench'

A peer is a command whose last line on standard output is JSON with `mtok_s`, million tokens a second of batches of
the same shape out of the same data (or of `error`). Every round runs fill_speed with 32-bit and 64-bit ids, one
thread (or what `--own` gives, such as benches/python_speed.py), and each peer once; printed are medians, ranges and by how much the mixer is faster: the median of
the rounds' ratios, by 64-bit ids where a peer delivers those, else by 32-bit ones.
"""

import argparse
import json
import os
import pathlib
import shlex
import signal
import statistics
import subprocess
import tempfile


def own(command, mixture, width, seconds):
    command = command.format(mixture=shlex.quote(str(mixture)), ids=width, seconds=seconds)
    return float(subprocess.run(shlex.split(command), check=True, capture_output=True).stdout) / 1e6


def peer(command, timeout):
    # A file, not a pipe, and a session of its own: workers that stay behind must not hold us up.
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            shlex.split(command), stdout=output, stderr=output, start_new_session=True
        )
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        output.seek(0)
        lines = output.read().splitlines()
    for line in reversed(lines):
        if line.startswith("{"):
            return json.loads(line)
    return {"error": " ".join(lines[-3:])[-200:] or "no result in time"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mixture", type=pathlib.Path, required=True)
    parser.add_argument(
        "--own",
        default="target/release/examples/fill_speed {mixture} {ids} {seconds}",
        help="what times the mixer and prints tokens a second (default: %(default)s)",
    )
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds a peer may take in all")
    parser.add_argument("--raw", type=pathlib.Path)
    arguments = parser.parse_args()
    peers = dict(peer.split("=", 1) for peer in arguments.peer)
    rates = {}
    for number in range(arguments.rounds):
        for width in ["u32", "i64"]:
            rate = own(arguments.own, arguments.mixture, width, arguments.seconds)
            rates.setdefault(width, []).append(rate)
        for name, command in peers.items():
            result = {"round": number, "peer": name, **peer(command, arguments.timeout)}
            result |= {"mixdown_u32": rates["u32"][-1], "mixdown_i64": rates["i64"][-1]}
            rates.setdefault(name, []).append(result)
            if arguments.raw:
                with arguments.raw.open("a", encoding="utf-8") as raw:
                    raw.write(json.dumps(result) + "\n")
    print(f"{'':28} {'10^6 tokens/s':>24} {'ids':>8} {'mixdown is faster by':>20}")
    for width in ["u32", "i64"]:
        values = rates[width]
        cell = f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"
        print(f"{'mixdown':28} {cell:>24} {width:>8}")
    for name in peers:
        good = [result for result in rates[name] if "mtok_s" in result]
        if not good:
            print(f"{name:28} {rates[name][-1].get('error', '')[-80:]}")
            continue
        ids = str(good[-1].get("dtype", ""))
        column = "mixdown_i64" if "64" in ids else "mixdown_u32"
        values = [result["mtok_s"] for result in good]
        cell = f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"
        ratio = statistics.median(result[column] / result["mtok_s"] for result in good)
        print(f"{name:28} {cell:>24} {ids:>8} {ratio:20.0f}")


if __name__ == "__main__":
    main()
