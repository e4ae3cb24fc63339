"""Plants near-duplicates: edited copies of real texts, to be given to `prepare` as the holdout of the others.

    python plant.py INPUT.jsonl ... --train TRAIN.jsonl --holdout HOLDOUT.jsonl [--field text] [--count 3000] [--seed 1]

Every text of the inputs goes to TRAIN. HOLDOUT gets copies of random ones, each with one kind of edit: 1 to 30 % of
the words changed at random places, one passage replaced, paragraphs moved, another license header, and new text that
has only a header in common with others.
"""

import argparse
import json
import random
import re
from pathlib import Path

HEADER = (
    "Permission is hereby granted free of charge to any person obtaining a copy of this work to deal in it without "
    "restriction including the rights to use copy modify merge publish distribute and sell copies of it provided that "
    "this notice is kept in all copies and that nobody is held liable for any claim that arises from it "
)


def changed_words(text: str, random_: random.Random, share: float) -> str:
    """Changes a share of the words at random places."""
    pieces = re.split(r"(\W+)", text)
    for at in range(0, len(pieces), 2):
        if pieces[at] and random_.random() < share:
            pieces[at] = f"{pieces[at][:2]}q{random_.randrange(10**6)}"
    return "".join(pieces)


def changed_passage(text: str, random_: random.Random, share: float) -> str:
    """Replaces one passage by other words."""
    pieces = re.split(r"(\W+)", text)
    length = int(len(pieces) * share)
    start = random_.randrange(max(1, len(pieces) - length))
    for at in range(start + start % 2, min(len(pieces), start + length), 2):
        pieces[at] = f"w{random_.randrange(10**6)}"
    return "".join(pieces)


def moved_paragraphs(text: str, random_: random.Random, share: float) -> str:
    """Moves a share of the paragraphs (or lines) to other places."""
    separator = "\n\n" if text.count("\n\n") > 3 else "\n"
    parts = text.split(separator)
    for _ in range(max(1, int(len(parts) * share))):
        parts.insert(random_.randrange(len(parts)), parts.pop(random_.randrange(len(parts))))
    return separator.join(parts)


def other_header(text: str, random_: random.Random, share: float) -> str:
    """Puts a license before a text of which the beginning is cut off."""
    return f"{HEADER} {random_.randrange(10**6)}\n\n{text[int(len(text) * share / 3) :]}"


def header_alone(text: str, random_: random.Random, share: float) -> str:
    """Makes a new text that has only the header in common with others."""
    words = (f"n{random_.randrange(10**9)}" for _ in range(max(20, len(text.split()))))
    return HEADER + " ".join(words)


EDITS = [changed_words, changed_passage, moved_paragraphs, other_header, header_alone]


def main() -> None:
    """Writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("inputs", type=Path, nargs="+")
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--holdout", type=Path, required=True)
    parser.add_argument("--field", default="text")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    random_ = random.Random(arguments.seed)
    texts = []
    for path in arguments.inputs:
        with path.open(encoding="utf-8") as lines:
            texts.extend(json.loads(line)[arguments.field] for line in lines)
    with arguments.train.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    with arguments.holdout.open("w", encoding="utf-8") as out:
        for number in range(arguments.count):
            text = random_.choice(texts)
            edit = EDITS[number % len(EDITS)]
            share = random_.choice([0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3])
            out.write(json.dumps({"text": edit(text, random_, share), "edit": edit.__name__, "share": share}) + "\n")


if __name__ == "__main__":
    main()
