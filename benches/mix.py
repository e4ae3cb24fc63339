"""Times the mixer beside the limit of the machine: a plain C copy of random windows out of a warm map.

    cargo build --release -p mixdown-benches --example fill_speed
    cc -O3 -march=native benches/mix/limit.c -o LIMIT
    python benches/mix.py --corpora A B C --weights 70% 20% 10% --tokens A/train.bin --limit LIMIT

The corpora are folders with corpora of 2-byte ids, such as `mixdown import` makes of raw arrays; the limit
copies from `--tokens`, one of their token files. For each sequence length and width of ids the two take turns,
one thread each, `--rounds` times; printed are the medians in tokens a second, their range, and the median
of the rounds' ratios.
"""

import argparse
import pathlib
import statistics
import subprocess
import tempfile


def rate(command):
    return float(subprocess.run([str(word) for word in command], check=True, capture_output=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", nargs="+", type=pathlib.Path, required=True)
    parser.add_argument("--weights", nargs="+", required=True)
    parser.add_argument("--tokens", type=pathlib.Path, required=True)
    parser.add_argument("--limit", type=pathlib.Path, required=True)
    parser.add_argument("--fill", type=pathlib.Path, default=pathlib.Path("target/release/examples/fill_speed"))
    parser.add_argument("--lengths", nargs="+", type=int, default=[128, 512, 1024, 4096, 32768])
    parser.add_argument("--widths", nargs="+", default=["u32", "i64"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    print(f"{'T':>6} {'ids':>4} {'limit Gtok/s':>20} {'mixdown Gtok/s':>20} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for length in arguments.lengths:
            mixture = pathlib.Path(folder) / f"{length}.toml"
            sources = [
                f'[[source]]\nname = "{place}"\ncorpus = "{corpus.resolve()}"\nweight = "{weight}"\n'
                for place, (corpus, weight) in enumerate(zip(arguments.corpora, arguments.weights))
            ]
            head = f"sequence_length = {length}\nbatch_size = 64\nseed = 7\n"
            mixture.write_text(head + "".join(sources), encoding="utf-8")
            for width in arguments.widths:
                pairs = []
                for _ in range(arguments.rounds):
                    limit = rate([arguments.limit, arguments.tokens, length, width, arguments.seconds])
                    pairs.append((limit, rate([arguments.fill, mixture, width, arguments.seconds])))
                cells = []
                for rates in zip(*pairs):
                    median, least, most = (f(rates) / 1e9 for f in (statistics.median, min, max))
                    cells.append(f"{median:.2f} ({least:.2f}-{most:.2f})")
                ratio = statistics.median(own / limit for limit, own in pairs)
                print(f"{length:6} {width:>4} {cells[0]:>20} {cells[1]:>20} {ratio:6.2f}", flush=True)


if __name__ == "__main__":
    main()
