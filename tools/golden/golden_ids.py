"""Writes testdata/tokenizers: a tiny tokenizer.json of each kind, and the ids that 0.23 gives.

    pip install 'tokenizers==0.23.*' sentencepiece protobuf zstandard
    python tools/golden/golden_ids.py testdata/tokenizers

The vocabularies are trained on the passages of make_check_texts.py. ids.json holds the texts and, for
each tokenizer, their ids with special tokens in the text as plain text and, where that differs, as special tokens. The Rust tests
compare; written once, then only added to.
"""

import argparse
import json
import pathlib

import tokenizers
from make_check_texts import PASSAGES, SPECIALS
from make_check_tokenizers import BLOOM, CL100K, CLIP, DEEPSEEK, O200K, QWEN, bpe, build, byte_level, clip_vocab
from make_check_tokenizers import literal, metaspace, norm, pre, regex, template, token
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

TEXTS = [
    *PASSAGES,
    *[f"a {s} b{s}" for s in SPECIALS[::3]],
    " ", "  ", "\n", " \n ", "a  b", "a\n\n b \t c", "I'll they'S we'LL don'\u017f I'\u017fx 'D",
    "12345678 1 22 333 4444", "\u0eb8\u0eba\u0eb9 \u0eba\u0eb8", "\U00031350\U00031351 x \U0001fac6",
    "e\u0301\u0327 \xe9 \u1e9b\u0323 \ufb01", "\U0001ccd6\U0001ccd7 \U000105d2\u0307", "\x00\x01\x7f \x85\xa0\u2028.",
    "=" * 70, " " * 70, "ab" * 40, "-" * 33 + "x" * 120, "\u2581the \u2581\u2581 the\u2581", "\ufffd\ufeff\u200b",
    "The thing in the thing <added> thing[Trim]  thing", "The <mask> and  <mask>  end", "trailing   ", "   leading",
]  # fmt: skip


def trained(model, trainer, pre_tokenizer, passages=PASSAGES):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(passages, trainer)
    return json.loads(tokenizer.to_str())["model"]


def byte_kinds():
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    model = trained(models.BPE(), trainer, pre_tokenizers.ByteLevel(add_prefix_space=False))
    vocab, merges = model["vocab"], model["merges"]
    split = lambda pattern: pre(regex(pattern), byte_level(use_regex=False))
    end = [token("<|endoftext|>")]
    yield "gpt2", build(bpe(vocab, merges), None, byte_level(), end)
    yield "llama3", build(
        bpe(vocab, merges, ignore_merges=True), None, split(CL100K), [token("<|begin_of_text|>"), token("<|end_of_text|>"), token("<|eot_id|>")],
        {"type": "Sequence", "processors": [byte_level(), template([("<|begin_of_text|>", len(vocab))])]},
    )  # fmt: skip
    chat = [*end, token("<|im_start|>"), token("<|im_end|>"), token("<tool_call>", special=False)]
    yield "qwen", build(bpe(vocab, merges), {"type": "NFC"}, split(QWEN), chat)
    yield "o200k", build(bpe(vocab, merges, ignore_merges=True), None, split(O200K), end)
    yield "deepseek", build(bpe(vocab, merges), norm(), pre(*map(regex, DEEPSEEK), byte_level(use_regex=False)), [token("<\uff5cend\u2581of\u2581sentence\uff5c>")])
    yield "neox", build(bpe(vocab, merges), {"type": "NFC"}, byte_level(), [*end, *[token(" " * n, special=False, normalized=True) for n in (4, 3, 2)]])
    yield "starcoder", build(bpe(vocab, merges), None, pre({"type": "Digits", "individual_digits": True}, byte_level()), end)
    yield "roberta", build(
        bpe(vocab, merges), None, byte_level(add_prefix_space=True), [token("<s>"), token("</s>"), token("<mask>", lstrip=True)],
        {"type": "RobertaProcessing", "sep": ["</s>", len(vocab) + 1], "cls": ["<s>", len(vocab)], "trim_offsets": True, "add_prefix_space": True},
    )  # fmt: skip
    yield "falcon", build(
        bpe(vocab, merges), None,
        pre({"type": "Punctuation", "behavior": "Contiguous"}, byte_level(), {"type": "Digits", "individual_digits": False}, regex("[0-9][0-9][0-9]")), end,
    )  # fmt: skip
    yield "bloom", build(bpe(vocab, merges), None, split(BLOOM), [token("<s>"), token("</s>")])
    yield "digits-2", build(bpe(vocab, merges), None, split(CL100K.replace("{1,3}", "{1,2}")), end)
    clip = bpe(*clip_vocab(vocab, merges), unk_token="<|endoftext|>", end_of_word_suffix="</w>")
    yield "clip", build(clip, {"type": "Lowercase"}, pre(regex(CLIP, "Removed", True), byte_level()), [token("<|startoftext|>"), token("<|endoftext|>")])
    flags = [token("<added>", special=False, normalized=True), token("thing", special=False, single_word=True), token("[Trim]", special=False, lstrip=True, rstrip=True)]
    yield "flags", build(bpe(vocab, merges), None, byte_level(), [*end, *flags])


def piece_kinds():
    specials = ["<unk>", "<s>", "</s>", *[f"<0x{byte:02X}>" for byte in range(256)]]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=specials, limit_alphabet=200, show_progress=False)
    model = trained(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True), trainer, pre_tokenizers.Metaspace())
    added = [token("<unk>"), token("<s>"), token("</s>")]
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    begin = template([("<s>", 1)])
    yield "llama2", build(model, norm({"type": "Prepend", "prepend": "\u2581"}, spaces), None, added, begin)
    yield "mistral", build(model, None, metaspace("first", False), [*added, token("[INST]"), token("[/INST]")], begin)
    yield "gemma", build(model, spaces, literal(" ", "MergedWithPrevious"), [*added, token("\u2581\u2581", special=False), token("<start_of_turn>")])
    yield "lowercase-first", build(model, {"type": "Lowercase"}, metaspace("first"), added)
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False)
    model = trained(models.Unigram(), trainer, pre_tokenizers.Metaspace(), PASSAGES[:6])
    squeeze = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    words = pre({"type": "WhitespaceSplit"}, metaspace())
    yield "t5", build(model, norm({"type": "Nmt"}, {"type": "NFKC"}, squeeze), words, [token("<unk>"), token("</s>"), token("<extra_id_0>")], template([], [("</s>", 1)]))


def word_kinds():
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=600, special_tokens=specials, show_progress=False)
    model = trained(models.WordPiece(unk_token="[UNK]"), trainer, pre_tokenizers.BertPreTokenizer())
    clean = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    around = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    yield "bert", build(model, clean, {"type": "BertPreTokenizer"}, [token(s) for s in specials], around)
    trainer = trainers.WordLevelTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False)
    model = trained(models.WordLevel(unk_token="[UNK]"), trainer, pre_tokenizers.Whitespace())
    yield "wordlevel", build(model, norm({"type": "NFD"}, {"type": "StripAccents"}), {"type": "Whitespace"}, [token("[UNK]")])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    ids = {}
    for kinds in (byte_kinds, piece_kinds, word_kinds):
        for name, content in kinds():
            text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
            (out / f"{name}.json").write_text(text + "\n")
            oracle = Tokenizer.from_str(text)
            by_mode = []
            for plain in (True, False):
                oracle.encode_special_tokens = plain
                by_mode.append([oracle.encode(text, add_special_tokens=False).ids for text in TEXTS])
            plain, parse = by_mode
            ids[name] = {"plain": plain, "parse": [b if a != b else None for a, b in zip(plain, parse)]}
    content = {"made_with": f"tokenizers {tokenizers.__version__}", "texts": TEXTS, "ids": ids}
    (out / "ids.json").write_text(json.dumps(content, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
