#!/usr/bin/env python3
"""Golden chats: what transformers renders, encodes and masks for the templates of testdata/chat.

    python tools/checks/check_chat_templates.py            # compares with the committed files
    python tools/checks/check_chat_templates.py --write    # makes them
    python tools/checks/check_chat_templates.py --against target/debug/examples/render_chats [--templates FOLDER]
                                                    # compares every template of a folder (that of the
                                                    # installed trl) with transformers on a grid of chats

Needs transformers (with jinja2) and tokenizers. The Rust test crates/tokenize/tests/chats.rs reads
the same files, so both sides are held to one text, one list of ids and one mask a conversation.

Texts come from apply_chat_template. Ids come from the tokenizer itself where no message spells a
special token; elsewhere from a second way that needs none of our rules: the template is rendered
with a placeholder for each content, so every special token in it is the template's own, and the
pieces between those are encoded by a copy of the tokenizer that has no special tokens. Where both
ways apply they must agree. Masks: a token is a target if it overlaps a span; spans are those of
`{% generation %}` where the template has it (and the mask must then equal transformers' own
assistant mask), else what an assistant turn adds to the rendering before it with the generation
prompt.
"""

import argparse
import importlib.util
import json
import re
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

HERE = Path(__file__).resolve().parents[2] / "testdata" / "chat"
TEMPLATES = {"chatml": None, "llama3": "<|begin_of_text|>", "generation": None}
SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>",
    "<|start_header_id|>", "<|end_header_id|>",
]
PLAIN_ADDED = ["<think>", "</think>"]
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def message(role, content, **more):
    return {"role": role, "content": content, **more}


# What llama3.jinja says where it finds no clock: the committed texts must not change with the day.
DAY = {"date_string": "26 Jul 2024"}

CONVERSATIONS = {
    "one turn": [message("user", "Hello there"), message("assistant", "Hello, how are you?")],
    "system": [
        message("system", "You answer in one word."),
        message("user", "What is the capital of France?"),
        message("assistant", "Paris"),
    ],
    "three turns": [
        message("user", "one"), message("assistant", "two"),
        message("user", "three"), message("assistant", "four\n\nfive"),
        message("user", "six"), message("assistant", "seven"),
    ],
    "unanswered": [
        message("user", "a"), message("assistant", "the answer"), message("user", "and now?"),
    ],
    "nobody": [message("user", "is there anybody?")],
    "empty answer": [message("user", "say nothing"), message("assistant", "")],
    "two answers": [
        message("user", "go on"), message("assistant", "the first"), message("assistant", "the second"),
    ],
    "other scripts": [
        message("user", "漢字 и кириллица العربية"), message("assistant", "é 👩‍👩‍👧 naïve 1234567"),
        message("user", "𝔘𝔫𝔦"), message("assistant", "ok 😀."),
    ],
    "code": [
        message("user", "Write a loop.\n\n\tPlease."),
        message("assistant", "```python\nfor i in range(10):\n    print({'a': \"b\"}, i)\n```"),
    ],
    "special text": [
        message("user", "What does <|im_end|> mean?<|im_start|>system"),
        message("assistant", "<|im_end|>\n and <|eot_id|> end a turn, <|endoftext|> a text"),
        message("user", "<|im_start|><|im_end|><|im_end|"),
        message("assistant", "a<|begin_of_text|>b"),
    ],
    "reasoning": [
        message("user", "2 + 2?"),
        message("assistant", "4", reasoning_content="\ntwo and two\n"),
        message("user", "3 + 3?"),
        message("assistant", "6", reasoning_content="three and three"),
    ],
}


def make_tokenizer():
    """A byte-level BPE of few merges with the special tokens of all three templates."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    texts = [turn["content"] for turns in CONVERSATIONS.values() for turn in turns]
    tokenizer.train_from_iterator(texts + ["system user assistant helpful"] * 3, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in PLAIN_ADDED])
    return tokenizer


def without_special(tokenizer):
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = [t for t in description["added_tokens"] if not t["special"]]
    # Ids of added tokens stay: they are part of the file, not counted up.
    for token in description["added_tokens"]:
        description["model"]["vocab"][token["content"]] = token["id"]
    return Tokenizer.from_str(json.dumps(description))


def placeholders(turns):
    contents, out = {}, []
    for n, turn in enumerate(turns):
        turn = dict(turn)
        for field in ("content", "reasoning_content"):
            if field in turn:
                key = f"\ue000{n}{field}\ue001"
                contents[key] = turn[field]
                turn[field] = key
        out.append(turn)
    return out, contents


def encode_apart(bare, specials, rendered, contents, strip):
    """Ids and character offsets; every special token in `rendered` is the template's own."""
    ids, offsets, position = [], [], 0
    for piece in re.split("(" + "|".join(map(re.escape, specials)) + ")", rendered):
        if piece in specials:
            ids.append(specials[piece])
            offsets.append((position, position + len(piece)))
            position += len(piece)
            continue
        for key, content in contents.items():
            piece = piece.replace(key, content.strip(strip) if strip is not None else content)
        encoding = bare.encode(piece, add_special_tokens=False)
        ids += encoding.ids
        offsets += [(position + a, position + b) for a, b in encoding.offsets]
        position += len(piece)
    return ids, offsets


def mask_of(offsets, spans):
    return [int(any(a < end and start < b for start, end in spans)) for a, b in offsets]


def prefix_spans(render, turns, only_last):
    spans = []
    assistants = [n for n, turn in enumerate(turns) if turn["role"] == "assistant"]
    for n in assistants[-1:] if only_last else assistants:
        before, through = render(turns[:n], True), render(turns[: n + 1], False)
        assert through.startswith(before) and render(turns, False).startswith(through)
        spans.append((len(before), len(through)))
    return spans


def cases(tokenizer):
    bare = without_special(tokenizer)
    specials = {token: tokenizer.token_to_id(token) for token in SPECIAL}
    for template, bos in TEMPLATES.items():
        text_of_template = (HERE / f"{template}.jinja").read_text()
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token=bos, eos_token="<|im_end|>" if bos is None else "<|eot_id|>"
        )
        fast.chat_template = text_of_template
        for name, turns in CONVERSATIONS.items():
            def render(turns, prompt):
                return fast.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=prompt, **DAY
                )

            text = render(turns, False)
            marked, contents = placeholders(turns)
            strip = None if template == "chatml" else ("\n" if template == "generation" else " \n")
            rendered = render(marked, False)
            if any(key not in rendered for key in contents if "reasoning" not in key):
                raise SystemExit(f"{template}, {name}: a placeholder is lost")
            ids, offsets = encode_apart(bare, specials, rendered, contents, strip)
            spelled = any(token in turn["content"] for token in SPECIAL for turn in turns)
            if not spelled:
                plain = fast(text, add_special_tokens=False, return_offsets_mapping=True)
                assert plain["input_ids"] == ids, (template, name)
                assert plain["offset_mapping"] == offsets, (template, name)
            masks = {}
            if "{% generation %}" in text_of_template:
                _, indices = render_jinja_template(
                    [turns], chat_template=text_of_template, return_assistant_tokens_mask=True,
                    **fast.special_tokens_map,
                )
                spans = [tuple(span) for span in indices[0]]
                masks["assistant"] = mask_of(offsets, spans)
                last = [n for n, turn in enumerate(turns) if turn["role"] == "assistant"][-1:]
                masks["last-turn"] = mask_of(offsets, spans[-1:] if last else [])
                if not spelled:
                    whole = fast.apply_chat_template(
                        turns, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, **DAY
                    )
                    assert whole["input_ids"] == ids, (template, name)
                    assert whole["assistant_masks"] == masks["assistant"], (template, name)
            else:
                masks["assistant"] = mask_of(offsets, prefix_spans(render, turns, False))
                masks["last-turn"] = mask_of(offsets, prefix_spans(render, turns, True))
            yield {
                "template": template, "name": name, "messages": turns, "text": text, "ids": ids,
                "masks": {key: "".join(map(str, mask)) for key, mask in masks.items()},
            }


def tool_case():
    """Texts alone: the order of keys and Python's JSON in tools and calls."""
    tools = [{
        "type": "function",
        "function": {
            "name": "weather", "description": "Tells the weather in <a> place & \"time\"",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"},
                           "days": {"type": "number", "default": 1.0}}, "required": ["place"]},
        },
    }]
    call = {"type": "function", "function": {"name": "weather", "arguments": {"place": "Zürich", "days": 2}}}
    turns = [
        message("user", "Weather?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        message("tool", "sunny"), message("tool", "{\"rain\": 0}"),
        message("assistant", "Sunny."),
    ]
    fast = PreTrainedTokenizerFast(tokenizer_object=make_tokenizer(), eos_token="<|im_end|>")
    fast.chat_template = (HERE / "chatml.jinja").read_text()
    text = fast.apply_chat_template(turns, tools=tools, tokenize=False)
    return {"template": "chatml", "name": "tools", "messages": turns, "tools": tools, "text": text}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--against", metavar="BINARY", help="built from crates/documents/examples/render_chats.rs")
    parser.add_argument("--templates", metavar="FOLDER", help="templates (*.jinja) instead of those of trl")
    parser.add_argument("--show", type=int, default=2, help="differences that are printed of each template")
    arguments = parser.parse_args()
    if arguments.against:
        from chat_differential import differential

        folder = arguments.templates
        if folder is None:
            folder = Path(importlib.util.find_spec("trl").origin).parent / "chat_templates"
        sys.exit(differential(arguments.against, folder, arguments.show) > 0)
    write = arguments.write
    tokenizer = make_tokenizer()
    golden = {"cases": list(cases(tokenizer)), "tools": tool_case()}
    files = {
        "tokenizer.json": tokenizer.to_str(pretty=False) + "\n",
        "golden.json": json.dumps(golden, ensure_ascii=False, indent=1) + "\n",
    }
    differ = 0
    for name, text in files.items():
        path = HERE / name
        if write:
            path.write_text(text)
        elif path.read_text() != text:
            print(f"{path}: differs from what transformers gives now", file=sys.stderr)
            differ += 1
    targets = sum(case["masks"]["assistant"].count("1") for case in golden["cases"])
    ids = sum(len(case["ids"]) for case in golden["cases"])
    print(f"{len(golden['cases'])} conversations, {ids} ids, {targets} targets, {differ} files differ")
    sys.exit(differ > 0)


if __name__ == "__main__":
    main()
