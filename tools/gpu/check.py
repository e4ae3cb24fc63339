"""Checks mixdown's CUDA trainer on a GPU machine and times it beside PyTorch.

Usage, in the unpacked folder of tools/gpu/build.sh, with PyTorch installed:

    python check.py [checks|times]

Libraries are those of PyTorch's wheels. Prints a line a check and Markdown tables of times, and fails where a check did.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
WORK = HERE / "work"
MIXDOWN = HERE / "mixdown"
SMALL = {"family": '"llama"', "vocab_size": 512, "hidden_size": 128, "layers": 2, "heads": 2, "intermediate_size": 256}
# Name, family, layers, hidden, heads, inner, vocabulary; rows at T = 1,024 and 4,096.
TIMED = [
    ("GPT-2 124M", "gpt2", 12, 768, 12, 3072, 50257, {1024: 32, 4096: 8}),
    ("Llama 1.3B", "llama", 24, 2048, 16, 5504, 32000, {1024: 8, 4096: 2}),
]
failures = []


def libraries():
    """Folders of shared libraries that pip's NVIDIA wheels have brought."""
    folders = {str(path.parent) for entry in sys.path for path in pathlib.Path(entry).glob("nvidia/**/lib/*.so*")}
    return ":".join(sorted(folders) + [os.environ.get("LD_LIBRARY_PATH", "")])


ENVIRONMENT = {**os.environ, "LD_LIBRARY_PATH": libraries()}


def mixdown(*arguments, environment=None):
    return subprocess.run(
        [MIXDOWN, *map(str, arguments)], capture_output=True, text=True, env={**ENVIRONMENT, **(environment or {})}
    )


def must(*arguments):
    result = mixdown(*arguments)
    if result.returncode != 0:
        sys.exit(f"{arguments}: {result.returncode}\n{result.stderr}")
    return result


def say(name, passed, detail):
    print(f"{'ok  ' if passed else 'FAIL'} {name}: {detail}", flush=True)
    if not passed:
        failures.append(name)


def corpus():
    """Python's own library as text, split for training and holdout."""
    place = WORK / "corpus"
    if place.exists():
        return place
    library = pathlib.Path(os.__file__).parent
    text = WORK / "text"
    text.mkdir(parents=True)
    for path in sorted(library.glob("*.py")):
        shutil.copy(path, text)
    must("tokenizer", "train", text, "--vocab-size", 512, "--out", WORK / "tokenizer.json")
    must("prepare", text, "--tokenizer", WORK / "tokenizer.json", "--out", place, "--holdout", "5%")
    return place


def table(title, keys):
    return f"[{title}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def run_file(name, model, train, length=256, rows=8, every=1000):
    mixture = {"sequence_length": length, "batch_size": rows, "seed": 7}
    source = {"name": '"target"', "corpus": f'"{corpus()}"', "weight": '"100%"'}
    held = {"name": '"target"', "corpus": f'"{corpus()}"'}
    parts = [
        table("model", {**model, "seed": 1}),
        table("mixture", mixture),
        table("[mixture.source]", source),
        table("train", {"learning_rate": 1e-3, **train}),
        table("eval", {"every_steps": every, "sequences": 8}),
        table("[eval.corpus]", held),
    ]
    path = WORK / f"{name}.toml"
    path.write_text("\n".join(parts))
    return path


def metrics(out):
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record.get("train_loss") is not None]


def train(name, train, expect=0, gpus=1, **options):
    out = WORK / name
    shutil.rmtree(out, ignore_errors=True)
    several = ("--gpus", gpus) if gpus > 1 else ()
    result = mixdown("train", run_file(name, options.pop("model", SMALL), train, **options), *several, "--out", out)
    if result.returncode != expect:
        sys.exit(f"{name}: exit code {result.returncode}\n{result.stderr}")
    return out, result


def losses(out):
    return [record["train_loss"] for record in metrics(out)]


def worst(a, b):
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def check_kernels():
    result = subprocess.run(
        # All of its tests are given GPU 0; several ranks want one each.
        [HERE / "kernel-tests", "cuda::", "--test-threads", "1", "--skip", "ranks", "--skip", "two_devices"],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "MIXDOWN_TEST_GPU": "0"},
    )
    told = [line for line in result.stdout.splitlines() if line.startswith("test ")]
    say("kernels and whole decoders against the CPU", result.returncode == 0, "; ".join(told))
    if result.returncode != 0:
        print(result.stdout[-6000:], result.stderr[-2000:])


def check_curves():
    families = {
        "llama": SMALL,
        "gpt2": {**SMALL, "family": '"gpt2"'},
    }
    for name, model in families.items():
        curves = {}
        for kind, keys in {
            "cpu": {},
            "f32": {"device": '"cuda"'},
            "bf16": {"device": '"cuda"', "precision": '"bf16"'},
        }.items():
            out, _ = train(f"{name}-{kind}", {"steps": 20, **keys}, model=model)
            curves[kind] = losses(out)
        far = worst(curves["cpu"], curves["f32"])
        say(f"{name}: f32 follows the CPU over 20 steps within 1e-4", far <= 1e-4, f"{far:.2e}")
        far = worst(curves["cpu"], curves["bf16"])
        say(f"{name}: bf16 within 2e-2", far <= 2e-2, f"{far:.2e}")


def check_reading():
    """What a model of check_curves says of held-out text, and what it writes, beside the CPU."""
    best = WORK / "llama-cpu" / "best"
    told = {}
    for kind, where in {"cpu": (), "f32": ("cuda", "f32"), "bf16": ("cuda", "bf16")}.items():
        where = ("--device", where[0], "--precision", where[1]) if where else ()
        measured = must("eval", best, "--corpus", corpus(), "--json", *where)
        prompt = ("--prompt", "def ", "--temperature", 0, "--max-tokens", 64)
        written = must("generate", best, *prompt, "--json", *where)
        told[kind] = json.loads(measured.stdout)["evaluations"][0]["loss"], json.loads(written.stdout)
    far = abs(told["f32"][0] - told["cpu"][0])
    say("eval: f32 has the loss of the CPU within 1e-5", far <= 1e-5, f"{far:.2e}")
    far = abs(told["bf16"][0] - told["cpu"][0])
    say("eval: bf16 within 1e-2", far <= 1e-2, f"{far:.2e}")
    ids = {kind: written["samples"][0]["ids"] for kind, (_, written) in told.items()}
    speeds = ", ".join(f"{kind} {written['tokens_per_second']:.0f}" for kind, (_, written) in told.items())
    say("generate: the most likely ids of the CPU", ids["f32"] == ids["cpu"], f"{len(ids['cpu'])} ids; tokens/s: {speeds}")


def check_resume():
    keys = {"steps": 200, "device": '"cuda"', "precision": '"bf16"', "checkpoint_every": 20}
    whole, _ = train("whole", keys)
    out = WORK / "stopped"
    shutil.rmtree(out, ignore_errors=True)
    path = run_file("stopped", SMALL, keys)
    process = subprocess.Popen([MIXDOWN, "train", path, "--out", out], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (out / "checkpoints").is_dir():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    code = process.wait()
    must("train", path, "--out", out)
    same = losses(whole) == losses(out)
    say("a stopped run goes on with the same bits", same and code == 130, f"exit code {code}, equal: {same}")
    weights = [(run / "best/model.safetensors").read_bytes() for run in (whole, out)]
    say("and ends with the same weights", weights[0] == weights[1], f"{len(weights[0])} bytes")


def check_errors():
    out, result = train("nan", {"steps": 50, "device": '"cuda"', "learning_rate": 1e18, "clip": "inf"}, expect=4)
    say("a loss that is not finite ends the run", not (out / "summary.json").exists(), last(result))
    keys = {"steps": 1, "device": '"cuda"', "micro_batch_size": 4_000_000}
    _, result = train("memory", keys, expect=2, model=SMALL, rows=4_000_000)
    say("too little memory is said before the first step", "memory" in result.stderr, last(result))
    result = mixdown("train", run_file("none", SMALL, {"steps": 1, "device": '"cuda:99"'}), "--out", WORK / "none")
    say("a GPU that is not there", result.returncode == 2 and "cuda:99" in result.stderr, last(result))
    environment = {"CUDA_VISIBLE_DEVICES": ""}
    path = run_file("hidden", SMALL, {"steps": 1, "device": '"cuda"'})
    result = mixdown("train", path, "--out", WORK / "hidden", environment=environment)
    say("no GPU at all", result.returncode != 0 and "cpu" in result.stderr, last(result))


def gpus():
    told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    return len(told.splitlines())


def check_ranks():
    """Several GPUs: losses of one, a rank that is killed, going on with another number."""
    count = gpus()
    if count < 2:
        print(f"-    several GPUs: {count} here, not checked", flush=True)
        return
    keys = {"steps": 20, "checkpoint_every": 5}
    alone, _ = train("alone", {**keys, "device": '"cuda"'})
    for number in sorted({2, count - count % 2}):
        out = WORK / f"ranks-{number}"
        shutil.rmtree(out, ignore_errors=True)
        must("train", run_file("ranks", SMALL, keys), "--gpus", number, "--out", out)
        far = worst(losses(alone), losses(out))
        say(f"{number} GPUs have the losses of one within 1e-4", far <= 1e-4, f"{far:.2e}")
    out = WORK / "killed"
    shutil.rmtree(out, ignore_errors=True)
    path = run_file("killed", SMALL, {"steps": 100_000, "checkpoint_every": 20})
    command = [MIXDOWN, "train", path, "--gpus", "2", "--out", out]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (out / "checkpoints").is_dir():
        time.sleep(0.05)
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGKILL)
    begun = time.monotonic()
    try:
        told = process.communicate(timeout=300)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        told = process.communicate()[1]
    named = process.returncode == 1 and "rank 1 is lost" in told
    say("a rank that is killed ends the other with its name", named, f"{time.monotonic() - begun:.1f} s: {told[-300:]}")
    process = subprocess.Popen([*command[:3], "--gpus", "1", "--out", out], env=ENVIRONMENT, stderr=subprocess.PIPE)
    time.sleep(15)
    process.send_signal(signal.SIGINT)
    say("one GPU goes on from there", process.wait() == 130, f"{len(losses(out))} steps")


def last(result):
    return (result.stderr.strip().splitlines() or [""])[-1][:300]


def peak_memory(stop, found):
    """The most memory of GPU 0 that nvidia-smi sees in use."""
    while not stop.is_set():
        command = ["nvidia-smi", "-i", "0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        told = subprocess.run(command, capture_output=True, text=True).stdout
        found[0] = max(found[0], int(re.sub(r"\D", "", told) or 0) << 20)
        stop.wait(0.2)


def time_mixdown(model, rows, length, number, gpus=1):
    stop, found = threading.Event(), [0]
    watcher = threading.Thread(target=peak_memory, args=(stop, found))
    watcher.start()
    keys = {"steps": 30, "device": '"cuda"', "precision": '"bf16"', "checkpoint_every": 1000}
    try:
        out, _ = train(f"time-{number}-{length}-{gpus}", keys, gpus=gpus, model=model, length=length, rows=rows * gpus)
    finally:
        stop.set()
        watcher.join()
    records = metrics(out)[10:]
    middle = {key: statistics.median(record[key] for record in records) for key in ("tokens_per_second", "mfu")}
    return {**middle, "peak_bytes": found[0]}


def time_torch(*arguments):
    command = [sys.executable, HERE / "torch_steps.py", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        return {"tokens_per_second": float("nan"), "peak_bytes": 0, "error": result.stderr[-300:]}
    return json.loads(result.stdout)


def times():
    names = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout.strip()
    print(f"\n{names}\n")
    print("| model | rows × length | mixdown tokens/s | eager | compile | beside eager | MFU | GB: mixdown, eager |")
    print("|---|---|---|---|---|---|---|---|")
    for number, (name, family, layers, hidden, heads, inner, vocabulary, sizes) in enumerate(TIMED):
        model = {
            "family": f'"{family}"',
            "vocab_size": vocabulary,
            "hidden_size": hidden,
            "layers": layers,
            "heads": heads,
            "intermediate_size": inner,
        }
        for length, rows in sizes.items():
            ours = time_mixdown(model, rows, length, number)
            shape = (family, layers, hidden, heads, inner, vocabulary, rows, length)
            eager, compiled = time_torch(*shape, "eager"), time_torch(*shape, "compile")
            share = ours["tokens_per_second"] / eager["tokens_per_second"]
            print(
                f"| {name} | {rows} × {length} | {ours['tokens_per_second']:.0f} | {eager['tokens_per_second']:.0f} "
                f"| {compiled['tokens_per_second']:.0f} | {share:.2f} | {ours['mfu']:.2f} "
                f"| {ours['peak_bytes'] / 1e9:.1f}, {eager['peak_bytes'] / 1e9:.1f} |",
                flush=True,
            )


def times_of_ranks():
    """Tokens a second of GPT-2 124M, as many rows a GPU for any number of them."""
    count = gpus()
    name, family, layers, hidden, heads, inner, vocabulary, sizes = TIMED[0]
    if count < 2:
        return
    model = {"family": f'"{family}"', "vocab_size": vocabulary, "hidden_size": hidden, "layers": layers}
    model |= {"heads": heads, "intermediate_size": inner}
    print("\n| GPUs | tokens/s | beside as many times one |\n|---|---|---|")
    first = None
    for number in (number for number in (1, 2, 4, 8) if number <= count):
        speed = time_mixdown(model, sizes[1024], 1024, 0, number)["tokens_per_second"]
        first = first or speed
        print(f"| {number} | {speed:.0f} | {speed / number / first:.2f} |", flush=True)


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else "all"
    WORK.mkdir(exist_ok=True)
    if what in ("all", "checks"):
        check_kernels()
        check_curves()
        check_reading()
        check_resume()
        check_errors()
        check_ranks()
    if what in ("all", "times"):
        times()
        times_of_ranks()
    sys.exit(f"failed: {', '.join(failures)}" if failures else 0)


if __name__ == "__main__":
    main()
