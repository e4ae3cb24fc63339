"""Makes the tokenizers that identity is checked with: every kind of tokenizer.json in use.

    pip install 'tokenizers==0.23.*' sentencepiece protobuf zstandard
    python tools/checks/make_check_tokenizers.py OUT --text FILE.jsonl.zst [--text ..] [--assets FOLDER]

Writes OUT/NAME.json. Small vocabularies are trained on the first megabytes of the texts; the forms
around them are those of the models named. Where `--assets` holds the real thing, it is taken:
cl100k_base.tiktoken, o200k_base.tiktoken (crate tiktoken-rs), encoder.json and vocab.bpe (GPT-2, the same
crate), llama3.tiktoken (PyPI llama-models, llama3/tokenizer.model), qwen.tiktoken (PyPI dashscope),
tekken_240911.json and tokenizer.model.v1 (PyPI mistral-common), j2-tokenizer.model (PyPI ai21-tokenizer), and
any NAME.json, a tokenizer.json as it is.
"""

import argparse
import base64
import io
import json
import pathlib
import sys

import sentencepiece
import tokenizers
import zstandard
from sentencepiece import sentencepiece_model_pb2
from tokenizers import models, normalizers, pre_tokenizers, trainers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
CAPITALS, SMALL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = "|".join(
    [
        rf"[^\r\n\p{{L}}\p{{N}}]?{CAPITALS}*{SMALL}+{CONTRACTION}",
        rf"[^\r\n\p{{L}}\p{{N}}]?{CAPITALS}+{SMALL}*{CONTRACTION}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
DEEPSEEK = [
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]
DEEPSEEK_CODER = [
    "[\r\n]",
    "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0370-\u03ff\u0400-\u0481]+",
    "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
    "\\s+$",
    "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
]
BLOOM = " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


# -- the parts of a file ------------------------------------------------------------------------


def token(content, index=None, special=True, **flags):
    """An added token; without an index it keeps the one it has in the vocabulary, or gets the next."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": index, "content": content, **plain, "special": special, **flags}


def regex(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def literal(text, behavior, invert=False):
    return {"type": "Split", "pattern": {"String": text}, "behavior": behavior, "invert": invert}


def byte_level(use_regex=True, add_prefix_space=False):
    fields = {"add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}
    return {"type": "ByteLevel", **fields}


def metaspace(scheme="always", split=True):
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": split}


def pre(*members):
    return {"type": "Sequence", "pretokenizers": list(members)}


def norm(*members):
    return {"type": "Sequence", "normalizers": list(members)}


def template(before=(), after=()):
    """Puts tokens, given as (content, id), around a text."""
    piece = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}
    sequence = lambda name, kind: {"Sequence": {"id": name, "type_id": kind}}
    single = [piece(n) for n, _ in before] + [sequence("A", 0)] + [piece(n) for n, _ in after]
    pair = [*single, sequence("B", 1)]
    table = {n: {"id": n, "ids": [i], "tokens": [n]} for n, i in [*before, *after]}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": table}


def build(model, normalizer=None, pre_tokenizer=None, added=(), post_processor=None, decoder=None):
    """A tokenizer.json; added tokens without an id get the vocabulary's or the next free one."""
    vocab = model["vocab"]
    known = vocab if isinstance(vocab, dict) else {piece: i for i, (piece, _) in enumerate(vocab)}
    following = len(known)
    tokens = []
    for entry in added:
        entry = dict(entry)
        if entry["id"] is None:
            if entry["content"] in known:
                entry["id"] = known[entry["content"]]
            else:
                entry["id"], following = following, following + 1
        tokens.append(entry)
    tokens.sort(key=lambda entry: entry["id"])
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": tokens,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": decoder,
        "model": model,
    }


def bpe(vocab, merges, **options):
    plain = {"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}
    plain |= {"fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    return {"type": "BPE", **plain, **options, "vocab": vocab, "merges": [list(pair) for pair in merges]}


# -- real vocabularies --------------------------------------------------------------------------


def byte_letters():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    for byte in range(256):
        letters.setdefault(byte, chr(256 + len([b for b in range(byte) if b not in plain])))
    return letters


LETTERS = byte_letters()


def spelled(data):
    return "".join(LETTERS[byte] for byte in data)


def from_ranks(ranks):
    """Vocabulary and merges of a rank file: a token's merge is what merging by lower ranks leaves."""
    merges = []
    for data, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [bytes([byte]) for byte in data]
        while len(parts) > 2:
            pairs = ((ranks.get(parts[i] + parts[i + 1], rank), i) for i in range(len(parts) - 1))
            lowest, i = min(pairs)
            if lowest >= rank:
                break
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        if len(parts) == 2:
            merges.append((spelled(parts[0]), spelled(parts[1])))
    return {spelled(data): rank for data, rank in ranks.items()}, merges


def tiktoken(path):
    lines = (line.split() for line in path.read_bytes().splitlines() if line.strip())
    return from_ranks({base64.b64decode(data): int(rank) for data, rank in lines})


def tekken(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    config = content["config"]
    specials = config["default_num_special_tokens"]
    entries = content["vocab"][: config["default_vocab_size"] - specials]
    vocab, merges = from_ranks({base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in entries})
    return {data: rank + specials for data, rank in vocab.items()}, merges, config["pattern"]


def sentencepiece_model(path):
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(path.read_bytes())
    return proto


def sentencepiece_bpe(proto):
    """Vocabulary and merges of a SentencePiece BPE: pairs of pieces, by the score of what they make."""
    scores = {piece.piece: piece.score for piece in proto.pieces}
    ids = {piece.piece: i for i, piece in enumerate(proto.pieces)}
    merges = []
    for whole, score in scores.items():
        pairs = ((whole[:i], whole[i:]) for i in range(1, len(whole)))
        found = [(left, right) for left, right in pairs if left in ids and right in ids]
        found.sort(key=lambda pair: (ids[pair[0]], ids[pair[1]]))
        merges += [(left, right, score) for left, right in found]
    merges.sort(key=lambda merge: -merge[2])
    return ids, [merge[:2] for merge in merges]


# -- trained vocabularies -----------------------------------------------------------------------


class Trained:
    """Small vocabularies, each trained once."""

    def __init__(self, lines):
        self.lines = lines
        self.done = {}

    def once(self, key, make):
        if key not in self.done:
            print(f"training {key}", file=sys.stderr)
            self.done[key] = make()
        return self.done[key]

    def train(self, model, trainer, pre_tokenizer, normalizer=None):
        tokenizer = tokenizers.Tokenizer(model)
        tokenizer.pre_tokenizer = pre_tokenizer
        if normalizer:
            tokenizer.normalizer = normalizer
        tokenizer.train_from_iterator(self.lines, trainer)
        return json.loads(tokenizer.to_str())["model"]

    def bytes(self, size=6000):
        def make():
            alphabet = pre_tokenizers.ByteLevel.alphabet()
            trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
            return self.train(models.BPE(), trainer, pre_tokenizers.ByteLevel(add_prefix_space=False))

        return self.once(f"byte-level BPE {size}", make)

    def words(self, **options):
        """A BPE over characters; options of the trainer."""

        def make():
            trainer = trainers.BpeTrainer(vocab_size=5000, show_progress=False, special_tokens=["<unk>"], **options)
            return self.train(models.BPE(unk_token="<unk>", **options), trainer, pre_tokenizers.Whitespace())

        return self.once(f"character BPE {sorted(options.items())}", make)

    def word_piece(self):
        def make():
            specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
            trainer = trainers.WordPieceTrainer(vocab_size=5000, special_tokens=specials, show_progress=False)
            normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
            return self.train(models.WordPiece(unk_token="[UNK]"), trainer, pre_tokenizers.BertPreTokenizer(), normalizer)

        return self.once("WordPiece", make)

    def word_level(self):
        def make():
            trainer = trainers.WordLevelTrainer(vocab_size=5000, special_tokens=["[UNK]"], show_progress=False)
            return self.train(models.WordLevel(unk_token="[UNK]"), trainer, pre_tokenizers.Whitespace())

        return self.once("WordLevel", make)

    def sentencepiece(self, kind, **options):
        def make():
            model = io.BytesIO()
            defaults = {"vocab_size": 4000, "character_coverage": 0.9995, "hard_vocab_limit": False}
            sentences = (line[:1000] for line in self.lines if line.strip())
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=sentences, model_writer=model, model_type=kind, minloglevel=2, **(defaults | options)
            )
            proto = sentencepiece_model_pb2.ModelProto()
            proto.ParseFromString(model.getvalue())
            return proto

        return self.once(f"SentencePiece {kind} {sorted(options.items())}", make)


def unigram(proto, **options):
    unk = next(i for i, piece in enumerate(proto.pieces) if piece.type == 2)
    vocab = [[piece.piece, piece.score] for piece in proto.pieces]
    return {"type": "Unigram", "unk_id": unk, "vocab": vocab, "byte_fallback": False, **options}


def precompiled(proto):
    charsmap = base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()
    return {"type": "Precompiled", "precompiled_charsmap": charsmap}


# -- the kinds ----------------------------------------------------------------------------------


def byte_level_kinds(trained, assets):
    model = trained.bytes()
    vocab, merges = model["vocab"], model["merges"]
    end = [token("<|endoftext|>")]
    spaces = [token(" " * n, special=False, normalized=True) for n in range(24, 1, -1)]
    chat = [token("<|endoftext|>"), token("<|im_start|>"), token("<|im_end|>")]
    chat += [token(t, special=False) for t in ["<tool_call>", "</tool_call>", "<think>", "</think>", "<|fim_prefix|>"]]
    split = lambda pattern: pre(regex(pattern), byte_level(use_regex=False))
    yield "gpt2-form", build(bpe(vocab, merges), None, byte_level(), end)
    yield "roberta-prefix-space", build(
        bpe(vocab, merges),
        None,
        byte_level(add_prefix_space=True),
        [token("<s>"), token("</s>"), token("<pad>"), token("<unk>"), token("<mask>", lstrip=True)],
        {"type": "RobertaProcessing", "sep": ["</s>", len(vocab) + 1], "cls": ["<s>", len(vocab)]}
        | {"trim_offsets": True, "add_prefix_space": True},
    )
    yield "gpt-neox-form", build(bpe(vocab, merges), {"type": "NFC"}, byte_level(), [*end, token("<|padding|>"), *spaces])
    yield "phi-form", build(bpe(vocab, merges), None, byte_level(), [*end, *spaces, token("\t\t", special=False, normalized=True)])
    yield "starcoder-form", build(
        bpe(vocab, merges), None, pre({"type": "Digits", "individual_digits": True}, byte_level()), [*end, token("<fim_prefix>")]
    )
    yield "falcon-form", build(
        bpe(vocab, merges),
        None,
        pre({"type": "Punctuation", "behavior": "Contiguous"}, byte_level(), {"type": "Digits", "individual_digits": False}, regex("[0-9][0-9][0-9]")),
        [*end, token(">>TITLE<<")],
    )
    yield "bloom-form", build(bpe(vocab, merges), None, split(BLOOM), [token("<s>"), token("</s>")])
    yield "qwen-form", build(bpe(vocab, merges), {"type": "NFC"}, split(QWEN), chat)
    yield "llama3-form", build(
        bpe(vocab, merges, ignore_merges=True),
        None,
        split(CL100K),
        [token("<|begin_of_text|>"), token("<|end_of_text|>"), token("<|eot_id|>"), token("<|start_header_id|>")],
        {"type": "Sequence", "processors": [byte_level(), template([("<|begin_of_text|>", len(vocab))])]},
    )
    yield "o200k-form", build(bpe(vocab, merges), None, split(O200K), [token("<|endoftext|>"), token("<|endofprompt|>")])
    yield "deepseek-v3-form", build(
        bpe(vocab, merges),
        norm(),
        pre(*[regex(pattern) for pattern in DEEPSEEK], byte_level(use_regex=False)),
        [token("<\uff5cbegin\u2581of\u2581sentence\uff5c>"), token("<\uff5cend\u2581of\u2581sentence\uff5c>"), token("<think>", special=False, normalized=True)],
    )
    yield "deepseek-coder-form", build(
        bpe(vocab, merges),
        norm(),
        pre(*[regex(pattern) for pattern in DEEPSEEK_CODER], {"type": "Digits", "individual_digits": True}, byte_level(use_regex=False)),
        [token("<\uff5cend\u2581of\u2581sentence\uff5c>")],
    )
    yield "clip-form", build(
        bpe(*clip_vocab(vocab, merges), unk_token="<|endoftext|>", end_of_word_suffix="</w>", continuing_subword_prefix=""),
        norm({"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Lowercase"}),
        pre(regex(CLIP, "Removed", True), byte_level()),
        [token("<|startoftext|>"), token("<|endoftext|>", normalized=True)],
    )
    for name, pattern in [("digits-2", r"\p{N}{1,2}"), ("digits-all", r"\p{N}+")]:
        yield f"cl100k-{name}", build(bpe(vocab, merges), None, split(CL100K.replace(r"\p{N}{1,3}", pattern)), end)
    yield "byte-level-no-split", build(bpe(vocab, merges), None, byte_level(use_regex=False), end)
    yield "byte-level-normalizer", build(bpe(vocab, merges), {"type": "ByteLevel"}, regex("\u0120?[^\u0120]+"), end)
    flags = [
        token("<added>", special=False, normalized=True),
        token("<Word>", special=False, single_word=True),
        token("word", special=False, single_word=True, normalized=True),
        token("[Trim]", special=False, lstrip=True, rstrip=True),
        token("<mask>", lstrip=True),
        token("<s>", rstrip=True),
        token("the the", special=False),
        token("  ", special=False),
        token("the", special=False, normalized=True),
        token("</s>", normalized=True),
    ]
    yield "added-token-flags", build(bpe(vocab, merges), None, byte_level(), flags)
    yield "added-token-flags-lowercase", build(bpe(vocab, merges), {"type": "Lowercase"}, byte_level(), flags)
    yield "kimi-like", build(bpe(vocab, merges), None, split(r"[\p{Han}]+|" + O200K), end)
    yield from real_byte_level(assets, split, chat)


def clip_vocab(vocab, merges):
    """A byte-level vocabulary whose words end in </w>: every token doubled, merges too."""
    names = list(dict.fromkeys([*vocab, *[f"{t}</w>" for t in vocab]]))
    pairs = [pair for left, right in merges for pair in ((left, right), (left, right + "</w>"))]
    return {name: i for i, name in enumerate([*names, "<|startoftext|>", "<|endoftext|>"])}, pairs


def real_byte_level(assets, split, chat):
    if path := assets.get("vocab.bpe"):
        merges = [line.split(" ") for line in path.read_text(encoding="utf-8").split("\n")[1:] if line]
        vocab = json.loads(assets["encoder.json"].read_text())
        yield "gpt2", build(bpe(vocab, merges), None, byte_level(), [token("<|endoftext|>")])
    if path := assets.get("cl100k_base.tiktoken"):
        vocab, merges = tiktoken(path)
        yield "cl100k", build(bpe(vocab, merges, ignore_merges=True), None, split(CL100K), [token("<|endoftext|>", 100257)])
    if path := assets.get("o200k_base.tiktoken"):
        vocab, merges = tiktoken(path)
        yield "o200k", build(bpe(vocab, merges, ignore_merges=True), None, split(O200K), [token("<|endoftext|>", 199999)])
    if path := assets.get("llama3.tiktoken"):
        vocab, merges = tiktoken(path)
        added = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|start_header_id|>", "<|eot_id|>"]
        yield "llama3", build(
            bpe(vocab, merges, ignore_merges=True),
            None,
            split(CL100K),
            [token(content) for content in added],
            {"type": "Sequence", "processors": [byte_level(), template([(added[0], len(vocab))])]},
        )
    if path := assets.get("qwen.tiktoken"):
        vocab, merges = tiktoken(path)
        yield "qwen", build(bpe(vocab, merges), {"type": "NFC"}, split(QWEN), chat)
    if path := assets.get("tekken_240911.json"):
        vocab, merges, pattern = tekken(path)
        added = [token(t, i) for i, t in enumerate(["<unk>", "<s>", "</s>", "[INST]", "[/INST]"])]
        yield "tekken", build(bpe(vocab, merges, ignore_merges=True), None, split(pattern), added)


def sentencepiece_kinds(trained, assets):
    options = {"byte_fallback": True, "normalization_rule_name": "identity", "split_digits": True}
    options |= {"remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True}
    proto = sentencepiece_model(assets["tokenizer.model.v1"]) if "tokenizer.model.v1" in assets else trained.sentencepiece("bpe", **options)
    vocab, merges = sentencepiece_bpe(proto)
    model = bpe(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    added = [token("<unk>"), token("<s>"), token("</s>")]
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    begin = template([("<s>", vocab["<s>"])])
    yield "llama2", build(model, norm({"type": "Prepend", "prepend": "\u2581"}, spaces), None, added, begin)
    yield "llama2-normalized-added", build(
        model, norm({"type": "Prepend", "prepend": "\u2581"}, spaces), None, [token("<unk>"), token("<s>"), token("</s>", normalized=True)], begin
    )
    inst = [*added, token("[INST]"), token("[/INST]"), token("[TOOL_CALLS]", special=False)]
    for scheme in ["first", "always", "never"]:
        for cut in [False, True]:
            yield f"mistral-metaspace-{scheme}-{'split' if cut else 'whole'}", build(model, None, metaspace(scheme, cut), inst, begin)
    runs = [token("\n" * n, special=False) for n in range(2, 9)] + [token("\u2581" * n, special=False) for n in range(2, 9)]
    gemma = [*added, *runs, token("<start_of_turn>"), token("<unused0>", special=False)]
    yield "gemma-form", build(model, spaces, literal(" ", "MergedWithPrevious"), gemma)
    yield "bpe-no-byte-fallback", build(bpe(vocab, merges, unk_token="<unk>", fuse_unk=True), None, metaspace(), added)
    yield "bpe-unk-not-fused", build(bpe(vocab, merges, unk_token="<unk>"), None, metaspace(), added)
    short = {piece: i for i, piece in enumerate(p for p in vocab if p not in ("<0xE2>", "<0x00>"))}
    kept = [pair for pair in merges if all(p in short for p in (*pair, "".join(pair)))]
    yield "bpe-some-bytes", build(bpe(short, kept, unk_token="<unk>", byte_fallback=True, fuse_unk=True), None, metaspace(), added)
    yield "bpe-ignore-merges", build(model | {"ignore_merges": True}, None, metaspace(), added)
    old = {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": True}
    yield "metaspace-old-spelling", build(model, None, old, added)
    yield "lowercase-metaspace-first", build(model, {"type": "Lowercase"}, metaspace("first"), [*inst, token("The", special=False, normalized=True)])


def unigram_kinds(trained, assets):
    proto = trained.sentencepiece("unigram", normalization_rule_name="nmt_nfkc")
    charsmap = precompiled(proto)
    real = sentencepiece_model(assets["j2-tokenizer.model"]) if "j2-tokenizer.model" in assets else None
    model = unigram(proto)
    words = pre({"type": "WhitespaceSplit"}, metaspace())
    squeeze = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    added = [token("<unk>"), token("<s>"), token("</s>")]
    yield "t5-form", build(model, charsmap, words, [*added, *[token(f"<extra_id_{i}>") for i in range(3)]])
    yield "t5-new-form", build(model, norm(charsmap, squeeze), metaspace(), [*added, token("<extra_id_0>", rstrip=True, lstrip=True)])
    yield "xlm-roberta-form", build(model, charsmap, words, [*added, token("<mask>", lstrip=True)])
    quotes = [{"type": "Replace", "pattern": {"String": q}, "content": '"'} for q in ("``", "''")]
    albert = norm(*quotes, {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, charsmap)
    yield "albert-form", build(model, albert, words, [*added, token("[MASK]", lstrip=True)])
    strip = {"type": "Strip", "strip_left": False, "strip_right": True}
    yield "xglm-form", build(model, norm(charsmap, strip, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"}), metaspace(), added)
    yield "unigram-nmt", build(model, norm({"type": "Nmt"}, {"type": "NFKC"}, squeeze), metaspace("first"), added)
    yield "unigram-no-normalizer", build(model, None, metaspace("never"), added)
    yield "unigram-whole", build(model, None, metaspace("always", False), added)
    bytes_proto = trained.sentencepiece("unigram", byte_fallback=True, normalization_rule_name="identity")
    yield "unigram-byte-fallback", build(unigram(bytes_proto, byte_fallback=True), None, metaspace(), added)
    if real:
        yield "j2", build(unigram(real, byte_fallback=any(p.type == 6 for p in real.pieces)), precompiled(real), metaspace("always"), [token("<|endoftext|>")])


def word_kinds(trained, _assets):
    model = trained.word_piece()
    added = [token(t) for t in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]]
    clean = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
    bert = {"type": "BertPreTokenizer"}
    around = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    yield "bert-cased-form", build(model, clean | {"strip_accents": None, "lowercase": False}, bert, added, around)
    yield "bert-uncased-form", build(model, clean | {"strip_accents": None, "lowercase": True}, bert, added, around)
    yield "bert-keeps-accents", build(model, clean | {"strip_accents": False, "lowercase": True}, bert, added)
    yield "bert-raw", build(model, None, bert, added)
    yield "wordpiece-whitespace", build(model | {"max_input_chars_per_word": 20}, None, {"type": "WhitespaceSplit"}, added)
    words = trained.word_level()
    unk = [token("[UNK]")]
    yield "wordlevel-whitespace", build(words, None, {"type": "Whitespace"}, unk)
    yield "wordlevel-lowercase", build(words, norm({"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}), {"type": "Whitespace"}, unk)
    suffix = trained.words(end_of_word_suffix="</w>")
    yield "openai-gpt-form", build(suffix, clean | {"strip_accents": None, "lowercase": True}, bert, [token("<unk>")])
    yield "bpe-prefix", build(trained.words(continuing_subword_prefix="##"), None, {"type": "Whitespace"}, [token("<unk>")])
    plain = trained.words()
    for name, splitter in [
        ("whitespace", {"type": "Whitespace"}),
        ("whitespace-split", {"type": "WhitespaceSplit"}),
        ("char-delimiter", {"type": "CharDelimiterSplit", "delimiter": "-"}),
        ("digits", {"type": "Digits", "individual_digits": False}),
        ("digits-individual", {"type": "Digits", "individual_digits": True}),
        ("unicode-scripts", {"type": "UnicodeScripts"}),
        ("fixed-length", {"type": "FixedLength", "length": 5}),
        ("none", None),
        ("word-regex", regex(r"\w+|[^\w\s]+")),
        ("number-regex", regex(r"\d{3}|\b", "Removed")),
    ]:
        yield f"bpe-{name}", build(plain, None, splitter, [token("<unk>")])
    for behavior in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        yield f"bpe-punctuation-{behavior}", build(plain, None, {"type": "Punctuation", "behavior": behavior}, [token("<unk>")])
        yield f"bpe-split-{behavior}", build(plain, None, literal("e", behavior), [token("<unk>")])
        yield f"bpe-split-inverted-{behavior}", build(plain, None, regex("[aeiou ]+", behavior, True), [token("<unk>")])
    for name, normalizer in [
        ("nfd", {"type": "NFD"}),
        ("nfkd", {"type": "NFKD"}),
        ("nfkc", {"type": "NFKC"}),
        ("nfc", {"type": "NFC"}),
        ("strip", {"type": "Strip", "strip_left": True, "strip_right": True}),
        ("strip-accents", norm({"type": "NFD"}, {"type": "StripAccents"})),
        ("prepend", {"type": "Prepend", "prepend": "_"}),
        ("replace-regex", {"type": "Replace", "pattern": {"Regex": "[0-9]+|\\s\\s"}, "content": "#"}),
        ("replace-word", {"type": "Replace", "pattern": {"String": "the"}, "content": ""}),
        ("nmt", {"type": "Nmt"}),
    ]:
        yield f"bpe-normalizer-{name}", build(plain, normalizer, {"type": "Whitespace"}, [token("<unk>"), token("The", special=False, normalized=True)])


def read_lines(paths, characters):
    """The first lines of every file's texts, an equal share of the characters each."""
    lines = []
    for path in paths:
        raw = open(path, "rb")
        if path.suffix == ".zst":
            raw = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        left = characters // len(paths)
        for record in io.TextIOWrapper(raw, encoding="utf-8"):
            text = json.loads(record)["text"].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            lines += text[:left].splitlines(keepends=True)
            left -= len(text)
            if left <= 0:
                break
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--text", type=pathlib.Path, action="append", required=True)
    parser.add_argument("--assets", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    assets = {path.name: path for path in sorted(arguments.assets.iterdir())} if arguments.assets else {}
    trained = Trained(read_lines(arguments.text, 6_000_000))
    made = {}
    for kinds in (byte_level_kinds, sentencepiece_kinds, unigram_kinds, word_kinds):
        for name, content in kinds(trained, assets):
            made[name] = json.dumps(content, ensure_ascii=False)
    for name, path in assets.items():
        if name.endswith(".json") and name not in ("encoder.json", "tekken_240911.json"):
            text = path.read_text(encoding="utf-8")
            if '"model"' in text:
                made[path.stem] = text
    for name, text in made.items():
        (arguments.out / f"{name}.json").write_text(text, encoding="utf-8")
        try:
            tokenizers.Tokenizer.from_str(text)
        except Exception as error:
            print(f"{name}: the oracle does not read it: {error}", file=sys.stderr)
    print(f"{arguments.out}: {len(made)} tokenizers", file=sys.stderr)


if __name__ == "__main__":
    main()
