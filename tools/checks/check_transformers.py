"""Opens a best/ folder of mixdown with transformers and compares the loss.

    python tools/checks/check_transformers.py runs/math/best --ids 5,17,3,99 --loss 6.021
    python tools/checks/check_transformers.py runs/math/best --corpus corpora/math \
        --sequence-length 128 --sequences 64 --loss 3.5

Asserts that AutoModelForCausalLM finds every tensor and no other, that AutoTokenizer opens the
folder and goes with the model, and that the mean cross-entropy of the given ids (or of the first
windows of a corpus' held-out part, as `mixdown eval` takes them) is the given one within
--tolerance nats. Needs torch and transformers.
"""

import argparse
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def windows(corpus: Path, length: int, count: int) -> torch.Tensor:
    """Window i of the held-out part: the length + 1 ids from i * length on."""
    manifest = json.loads((corpus / "manifest.json").read_text())
    width = {"uint16": 2, "int32": 4}[manifest["dtype"]]
    data = b"".join(
        (corpus / "holdout" / f"{shard['file']}.bin").read_bytes()
        for shard in manifest["holdout"]["shards"]
    )
    ids = [int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)]
    count = min(count, (len(ids) - 1) // length)
    return torch.tensor([ids[i * length : i * length + length + 1] for i in range(count)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ids", help="comma-separated token ids: one sequence")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--sequence-length", type=int, default=128)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--loss", type=float, required=True, help="nats per token")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()

    model, info = AutoModelForCausalLM.from_pretrained(
        arguments.folder, dtype=torch.float32, output_loading_info=True
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[kind], f"{kind}: {info[kind]}"
    print(f"{type(model).__name__}: {model.num_parameters()} parameters, no key missing or unexpected")

    if (arguments.folder / "tokenizer.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(arguments.folder)
        assert len(tokenizer) <= model.config.vocab_size
        assert tokenizer.eos_token_id == model.config.eos_token_id, tokenizer.eos_token_id
        text = "fn main() { println!(\"α ≤ β\"); }\n"
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
        print(f"{type(tokenizer).__name__}: {len(tokenizer)} tokens, round trip of a line of text")

    if arguments.corpus:
        rows = windows(arguments.corpus, arguments.sequence_length, arguments.sequences)
    else:
        rows = torch.tensor([[int(id) for id in arguments.ids.split(",")]])
    total, count = 0.0, 0
    with torch.no_grad():
        for part in rows.split(16):
            logits = model(input_ids=part[:, :-1]).logits.flatten(0, 1)
            targets = part[:, 1:].flatten()
            total += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
            count += targets.numel()
    difference = abs(total / count - arguments.loss)
    print(f"loss {total / count:.6f} over {count} targets, difference {difference:.1e}")
    assert difference <= arguments.tolerance


if __name__ == "__main__":
    main()
