"""Greedy generation by transformers on the CPU in f32: the peer of mixdown's own.

    python benches/train_models.py MODELS
    python benches/generate_torch.py MODELS/llama-11m --prompt 16 --tokens 256

Prints one line of JSON. In the timing: from the second new id to the last one, with the cache of keys and
values that `generate` makes by itself; not in it: starting, loading, a warm-up, reading the prompt, which is
told apart. No id ends the text. Needs torch and transformers.
"""

import argparse
import json
import os
import resource
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer


class Clock(BaseStreamer):
    """When the prompt came and each of the new ids."""

    def __init__(self):
        self.times = []

    def put(self, value):
        self.times.append(time.perf_counter())

    def end(self):
        pass


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompt", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = AutoModelForCausalLM.from_pretrained(arguments.folder, dtype=torch.float32).eval()
    prompt = torch.tensor([[7 * place + 3 for place in range(arguments.prompt)]])
    options = {"do_sample": False, "attention_mask": torch.ones_like(prompt), "eos_token_id": None, "pad_token_id": 0}
    model.generate(prompt, max_new_tokens=8, **options)
    clock = Clock()
    output = model.generate(prompt, max_new_tokens=arguments.tokens, streamer=clock, **options)
    ids = output[0, arguments.prompt :].tolist()
    seconds = clock.times[-1] - clock.times[1]
    report = {
        "implementation": "transformers",
        "parameters": model.num_parameters(),
        "threads": arguments.threads,
        "tokens": len(ids),
        "prompt_milliseconds": (clock.times[1] - clock.times[0]) * 1e3,
        "tokens_per_second": (len(ids) - 1) / seconds,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "ids": ids,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
