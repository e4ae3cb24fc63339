"""Greedy generations of the tiny models of testdata/train by transformers: what mixdown must generate.

    OMP_NUM_THREADS=1 python tools/golden/golden_generate.py testdata/train

Writes generate.json in each folder: for the first ids of each row of the test's first batch (golden_models.py makes it)
the ids that `generate(do_sample=False)` adds, with a cache of keys and values, in f32. `least_gap` is the
smallest difference of the two largest logits on the way: far above rounding, so that ids must agree.
A generation ends with id 0, which ends a text, or at the model's last position. Needs torch and transformers.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from golden_models import FAMILIES, POSITIONS, batch
from transformers import AutoModelForCausalLM

# Of 64 positions: the last prompt fills them all but for one.
PROMPT_LENGTHS, MAX_TOKENS = [1, 5, 20, 32], 40
LEAST_GAP = 1e-4


@torch.no_grad()
def generate(model: torch.nn.Module, prompt: list[int]) -> tuple[list[int], float]:
    # The id after the last position is drawn but not read.
    room = min(MAX_TOKENS, POSITIONS - len(prompt) + 1)
    output = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=room,
        return_dict_in_generate=True,
        output_logits=True,
    )
    ids = output.sequences[0, len(prompt) :].tolist()
    gaps = [float(torch.diff(logits[0].topk(2).values).abs()) for logits in output.logits]
    return ids, min(gaps)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    rows = batch(0)
    for family in FAMILIES:
        model = AutoModelForCausalLM.from_pretrained(folder / family, dtype=torch.float32).eval()
        cases = []
        for row, length in enumerate(PROMPT_LENGTHS):
            prompt = rows[row, :length].tolist()
            ids, gap = generate(model, prompt)
            assert gap > LEAST_GAP, f"{family}: a gap of {gap}"
            cases.append({"prompt": prompt, "ids": ids, "least_gap": float(f"{gap:.3g}")})
        made_with = f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
        text = {"made_with": made_with, "max_tokens": MAX_TOKENS, "cases": cases}
        (folder / family / "generate.json").write_text(json.dumps(text) + "\n")
        print(f"{family}: {[len(case['ids']) for case in cases]} ids, gaps {[case['least_gap'] for case in cases]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
