"""Every chat template of a folder with every conversation of chat_grid: mixdown's text and mask against transformers'."""

import copy
import datetime
import json
import logging
import re
import subprocess
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import chat_grid

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


def byte_tokenizer():
    """Bytes are tokens, so that a mask says of every byte what it is; so no token is special."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: n for n, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False, trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def theirs(fast, record, masked, prompt):
    """The text and, where the template has generation blocks, which bytes the assistant writes; None if refused."""
    record = copy.deepcopy(record)
    chosen = {"tools": record.get("tools"), "add_generation_prompt": prompt, **TOKENS}
    try:
        text = fast.apply_chat_template(record["messages"], tokenize=False, **chosen)
        if not masked:
            return text, None
        out = fast.apply_chat_template(
            record["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True, **chosen
        )
    except Exception as error:  # whatever a template raises
        return None, f"{type(error).__name__}: {error}"
    return text, out["assistant_masks"]


def ours(binary, template, records, settings):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        places, at = [], 0
        for record in records:
            line = json.dumps(record, ensure_ascii=False) + "\n"
            places.append(at)
            at += len(line.encode())
            file.write(line)
        file.flush()
        run = subprocess.run(
            [binary, str(template), file.name, json.dumps(settings)], capture_output=True, text=True
        )
    if run.returncode:
        raise SystemExit(f"{template}: {run.stderr}")
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    if len(lines) == 1 and "at" not in lines[0]:
        return [lines[0]] * len(records)
    found = {line["at"]: line for line in lines}
    return [found[place] for place in places]


def mask_of(line):
    mask = [0] * len(line["text"].encode())
    for start, end in line["targets"]:
        mask[start:end] = [1] * (end - start)
    return mask


def compare(binary, template, fast, records, prompt, show):
    fast.chat_template = template.read_bytes().decode()
    masked = not prompt and bool(GENERATION.search(fast.chat_template))
    settings = {
        "tokens": TOKENS, "date": datetime.date.today().isoformat(), "prompt": prompt,
        "train_on": "assistant" if masked else "all",
    }
    counts = {"equal": 0, "refused by both": 0, "different": 0, "masks": 0}
    for record, line in zip(records, ours(binary, template, records, settings)):
        text, mask = theirs(fast, record, masked, prompt)
        if text is None or "refused" in line:
            same = text is None and "refused" in line
            counts["refused by both" if same else "different"] += 1
        else:
            same = text == line["text"] and (not masked or mask == mask_of(line))
            counts["equal" if same else "different"] += 1
            counts["masks"] += masked
        if not same and show > 0:
            show -= 1
            print(f"{template.name}: {json.dumps(record, ensure_ascii=False)}")
            print(f"  theirs {text!r} {mask if text is None else ''}\n  ours   {line.get('text', line)!r}")
    return counts


def differential(binary, folder, show):
    logging.disable(logging.WARNING)
    fast, total, pairs = byte_tokenizer(), {}, 0
    records = list(chat_grid.records())
    prompts = [{"messages": turns} for turns in chat_grid.plain()]
    templates = sorted(Path(folder).glob("*.jinja"))
    for template in templates:
        for some, prompt in ((records, False), (prompts, True)):
            counts = compare(binary, template, fast, some, prompt, show)
            pairs += len(some)
            for name, count in counts.items():
                total[name] = total.get(name, 0) + count
            if counts["different"]:
                print(f"{template.name}: {counts['different']} of {len(some)} differ")
    print(f"{len(templates)} templates, {pairs} pairs: " + ", ".join(f"{count} {name}" for name, count in total.items()))
    return total["different"]
