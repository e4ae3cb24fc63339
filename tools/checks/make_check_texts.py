"""Makes the texts that tokenizers are checked with, besides the corpora.

    python tools/checks/make_check_texts.py OUT [--real FOLDER]

Writes OUT/multilingual.jsonl, OUT/adversarial.jsonl and OUT/large.jsonl, one {"text": ...} a line,
the same bytes on every run of one Python version. `--real` adds real text to the multilingual set:
every .po file (translations; PyPI's Django carries a hundred languages) and every manual page
(NAME.1.gz and so on, as `dpkg-deb -x manpages-ja_*.deb FOLDER` leaves them) below the folder.
"""

import argparse
import gzip
import json
import pathlib
import re
import sys
import unicodedata

# One passage a script, written for this file: what splitters trip over is letters, marks, digits
# and punctuation of each, not what the words say.
PASSAGES = [
    "The quick brown fox doesn't jump; it's resting, they'll say, and I'd agree. We've 1,234.56 reasons!",
    "Der Fluß überschwemmte die Straßen; 12 Häuser wurden beschädigt, „so etwas gab es nie“.",
    "L'été dernier, j'ai mangé 3 crêpes à l'île d'Oléron : c'était délicieux ! « Vraiment ? »",
    "¿Cuántos años tienes? ¡Tengo 45 años y medio! El niño comió piña en la montaña.",
    "Zażółć gęślą jaźń. Příliš žluťoučký kůň úpěl ďábelské ódy. Árvíztűrő tükörfúrógép.",
    "İstanbul'da ılık bir gün: IĞDIR, ığdır, ŞİŞLİ. Đặng Thị Ngọc Thịnh nói tiếng Việt rất giỏi.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю №5. Київ — столиця України, її їжа.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία· 12 ώρες; ΑΫΠΝΙΑ. Ὁ ἄνθρωπος τῇ φύσει ζῷον πολιτικόν.",
    "Բարեւ Ձեզ, ինչպե՞ս եք։ აბგდ ევზთ იკლმ, საქართველო 2024 წელს.",
    "שלום עולם! מה שלומך היום? יש לי 3 ספרים. בְּרֵאשִׁית בָּרָא אֱלֹהִים.",
    "مرحبا بالعالم، كيف حالك اليوم؟ لدي ١٢٣ كتابًا. بِسْمِ اللَّهِ الرَّحْمٰنِ. فارسی: می‌خواهم ۴۵۶ کتاب بخرم.",
    "नमस्ते दुनिया, आप कैसे हैं? मेरे पास १२३ किताबें हैं। क्षत्रिय ज्ञान श्री।",
    "বাংলা ভাষা খুব সুন্দর। আমার ১২টি বই আছে। தமிழ் மொழி மிகவும் பழமையானது. తెలుగు భాష తియ్యనిది.",
    "ಕನ್ನಡ ಭಾಷೆ ಮಲಯಾളം ഭാഷ മനോഹരമാണ്. ગુજરાતી ભાષા ਪੰਜਾਬੀ ਬੋਲੀ. සිංහල භාෂාව.",
    "สวัสดีชาวโลก วันนี้อากาศดีมาก ฉันมีหนังสือ ๑๒๓ เล่ม ທ່ານສະບາຍດີບໍ່ ភាសាខ្មែរ មាន ១២៣ ក្បាល។ မြန်မာစာ ၁၂၃ ခု။",
    "བོད་སྐད་ཡིག་གི་དཔེ་ཆ། ᠮᠣᠩᠭᠣᠯ ᠬᠡᠯᠡ። አማርኛ ቋንቋ ፲፪ መጻሕፍት አሉኝ።",
    "今天天气很好，我们去公园吧！他有三本书，价格是１２３元。「你好」，他说……繁體字與异体字：鬱、龘、𠮷。",
    "吾輩は猫である。名前はまだ無い。カタカナ、ﾊﾝｶｸ、ひらがな、１２３、㌢㍍、株式会社㈱ーー。が゛か゛ガ",
    "안녕하세요 세계! 오늘은 날씨가 좋습니다. 책 12권이 있어요. 각 각 ᄒᆞᆫ글 ㄱㄴㄷ ᄀ",
    "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ꮳꮃꭹ ᐃᓄᒃᑎᑐᑦ ߒߞߏ ߁߂߃ ⵜⴰⵎⴰⵣⵉⵖⵜ 𐐔𐐯𐑅𐐨𐑉𐐯𐐻 𞤀𞤣𞤤𞤢𞤥 𒀀𒀁𒁀 𓀀𓁐 𐎀𐎁",
    "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β ⇒ ∫₀^∞ e^{−x²} dx = √π⁄2, ½ + ⅓ = ⅚, x² y₃ Ⅷ ⅷ ① ⑳ ㉈ 𝟙𝟚𝟛 𝔸𝕓 𝒳 𝖄",
    "def f(x):\n\treturn {'a': x[0], \"b\": -1}  # comment\n\n\n    if x != None and y>=3.14e-10:\n        pass\r\n\r\n",
    "👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇯🇵🇺🇸🇩 👨🏿‍🦰 ❤️ ❤ ☎️ 1️⃣ #️⃣ 🤷🏼‍♂️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 😀😃😄 🫠🫨",
]

# Characters that splitters, normalizers and byte maps treat in their own ways.
PIECES = (
    [" ", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\xa0", "\u1680", "\u2003"]
    + ["\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u180e", "\u200b", "\u200d", "\ufeff", "\u2060", "\xad"]
    + ["'", "'s", "'S", "'t", "'re", "'VE", "'ll", "'lL", "'D", "'m", "\u2019s", "'\u017f", "'\u212a", "n't", "''", "``"]
    + ["a", "b", "The", "the", "HELLO", "hello", "camelCase", "x", "I", "\xe9", "e\u0301", "\xdf", "\u1e9e", "\u0130", "\u0131"]
    + ["\u01c5", "\u02b0", "\u0308", "\u0301\u0327", "\u0345", "\u0363", "\u20dd", "\u093f", "\u0e33", "\u0eb3", "\u1100\u1161\u11a8", "\uac01"]
    + ["0", "1", "12", "123", "1234", "12345678", "3.14", "1,000", "\u0663", "\u0967", "\u4e00", "\u2167", "\xbd", "\u2460", "\uff11", "\U0001d7d9"]
    + [".", "...", ",", "!", "?", "/", "//", "\\", "-", "--", "_", "__", "(", ")", "[", "]", "{", "}", "<", ">", "|", "@", "#", "$"]
    + ["%", "^", "&", "*", "+", "=", "~", "`", '"', ":", ";", "\xa1", "\xbf", "\u3002", "\uff0c", "\u2581", "\u0120", "\u010a"]
    + ["\u4f60\u597d", "\u65e5\u672c", "\u30ab\u30bf", "\u304c", "\uff76\uff9e", "\u3099", "\ud55c", "\u0645", "\u0628\u0650", "\u05d0", "\u0e01", "\u0915"]
    + ["\U0001f44d", "\U0001f3fd", "\U0001f469\u200d\U0001f680", "\U0001f1e9\U0001f1ea", "\ufe0f", "\u20e3", "\U000e0067", "\U00020bb7"]
    + ["\x00", "\x01", "\x1b", "\x7f", "\x80", "\x9f", "\ue000", "\ufffe", "\uffff", "\U0010ffff", "\ufffd", "\u0378", "\U0001fffe"]
    + ["\ufb01", "\u212b", "\u2126", "\xb2", "\u1e9b\u0323", "\u2f00", "\u3392", "\u0f77", "\ufdfa", "\u0958", "\u2adc", "\U0001d15e"]
)

# Spellings of special and added tokens in use, and near misses are made of them.
SPECIALS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>",
    "<|start_header_id|>", "<s>", "</s>", "<unk>", "<pad>", "<mask>", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]",
    "<bos>", "<eos>", "<start_of_turn>", "[INST]", "[/INST]", "<extra_id_0>", "<tool_call>", "</tool_call>", "<think>",
    "<|fim_prefix|>", "<|endofprompt|>", "<0x0A>", "<0xE2>", "<EOT>", "<added>", "<Word>", "[Trim]", "<fim_prefix>", "</w>",
    "\uff5cend\u2581of\u2581sentence\uff5c", "<\uff5cend\u2581of\u2581sentence\uff5c>", "##ing", "\u2581the", "\u0120the",
]  # fmt: skip


class Dice:
    """A small generator of its own: the standard library's choice() may change between versions."""

    def __init__(self, seed):
        self.state = seed * 2862933555777941757 + 3037000493

    def below(self, count):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % count

    def choice(self, items):
        return items[self.below(len(items))]


def real_texts(folder):
    """Translations and manual pages in the order of their paths: one piece in five of some 10,000 characters."""
    pieces = 0
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".po":
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            text = "\n".join(re.sub(r'^(msgstr(\[\d\])?|msgid|msgid_plural) ?"|^"|"$', "", line) for line in lines)
        elif re.search(r"\.\d\w*\.gz$", path.name) and not path.is_symlink():
            text = gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace")
        else:
            continue
        for start in range(0, len(text), 10_000):
            if pieces % 5 == 0:
                yield text[start : start + 10_000]
            pieces += 1


def multilingual(real):
    for form in ["NFC", "NFD", "NFKC", "NFKD"]:
        for passage in PASSAGES:
            yield unicodedata.normalize(form, passage)
    for passage in PASSAGES:
        yield passage
        yield from (passage.upper(), passage.lower(), passage.title(), passage[::-1])
        yield from (passage.replace(" ", ""), passage.replace(" ", "  "), passage.replace(" ", "\u3000"))
    yield "\n".join(PASSAGES)
    yield " ".join(PASSAGES) * 20
    if real:
        yield from real_texts(real)


def every_scalar():
    """Every Unicode scalar value in running text, assigned ones in four surroundings."""
    for start in range(0, 0x110000, 128):
        scalars = [chr(c) for c in range(start, start + 128) if not 0xD800 <= c < 0xE000]
        if not scalars:
            continue
        yield "".join(f"a{c}b " for c in scalars)
        if any(unicodedata.category(c) not in ("Cn", "Co") for c in scalars):
            yield "".join(f" {c}" for c in scalars)
            yield "".join(f"1{c}2\n" for c in scalars)
            yield "".join(f"!{c}{c}'s" for c in scalars)
            yield "".join(scalars)


def repeats():
    """Runs of one character and of short patterns, of lengths around the limits of splitters."""
    lengths = [1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 101, 127, 128, 129, 255, 256, 257, 1000, 4097]
    runs = [" ", "\t", "\n", "\r\n", "\r", "0", "9", "a", "A", "\xe9", "e\u0301", "\u4e00", "\u0301", "'", "!", "=", "-", "_"]
    runs += ["\xa0", "\u3000", "\u200b", "\u2028", "\x85", "\x00", "\U0001f600", "\u200d", "\ufe0f", "\u2581", "\u0e01", "ab", " a", "a ", "'s", "1 "]
    for run in runs:
        for length in lengths:
            yield run * length
        for length in (1, 2, 3, 5, 9):
            yield f"x{run * length}"
            yield f"{run * length}x"
            yield f"x{run * length}y{run * length} z {run * length}"
            yield f"1{run * length}2\n{run * length}\n3"


def contractions():
    for apostrophe in ["'", "\u2019", "\u02bc", "`", "''"]:
        for ending in ["s", "t", "re", "ve", "m", "ll", "d", "\u017f", "\u212a", "sx", "lls", "r", "v", "l", "l\u0142", "D\u0307"]:
            for variant in sorted({ending, ending.upper(), ending.title(), ending.swapcase(), ending[:1] + ending[1:].upper()}):
                for before in ["", "I", "they", "They", "THEY", "5", " ", ".", "\n", "\u0438", "\u4e00", "\u0301"]:
                    yield f"{before}{apostrophe}{variant} {before}{apostrophe}{variant}x"


def specials(dice):
    for token in SPECIALS:
        yield token
        yield from (token * 2, token * 3, f" {token} ", f"a{token}b", f"a {token} b", f"\n{token}\n", f"  {token}\t\t{token}  x")
        yield from (f"{token}the", f"The{token} the", f"1{token}2", f"{token}.", f"\u4e00{token}\u4e00", f"({token})")
        yield from (token[:-1], token[1:], token.upper(), token.lower(), token.title(), token.replace("|", "| "), token[:-1] + token)
        yield from (token[:2] + "\u200b" + token[2:], f"<{token}>", f"|{token}|", token.replace("_", "-"), token[: len(token) // 2] + token)
    for _ in range(600):
        parts = [dice.choice([dice.choice(SPECIALS), dice.choice(PIECES), "", " "]) for _ in range(1 + dice.below(12))]
        yield "".join(parts)


def ends():
    """Text that ends where a lookahead looks."""
    for tail in [" ", "  ", "   ", "\n", " \n", "\n ", " \n ", "\n\n ", "\t", " \t", "\r", "\r\n", "\r\n ", "\xa0", " \xa0", "\u3000 ", "\x85", "\u2028 "]:
        for head in ["", "a", "1", "!", "'s", "\u4e00", "a b", "a\n", "\U0001f600"]:
            yield head + tail
            yield head + tail + "b"
            yield head + tail + "1"
            yield head + tail + "'s"
            yield head + tail + "!\n"


def random_texts(dice):
    for _ in range(12_000):
        yield "".join(dice.choice(PIECES) for _ in range(1 + dice.below(24)))
    for _ in range(300):
        yield "".join(dice.choice(PIECES) for _ in range(200 + dice.below(2000)))
    for _ in range(300):
        planes = [0x80, 0x800, 0x3000, 0x10000, 0x20000, 0x110000]
        scalars = (dice.below(dice.choice(planes)) for _ in range(300))
        yield "".join("\ufffd" if 0xD800 <= c < 0xE000 else chr(c) for c in scalars)


def words(dice):
    """Words of the lengths at which WordPiece gives up, and far beyond."""
    for length in [1, 50, 99, 100, 101, 199, 200, 201, 1000, 20_000]:
        for letters in ["abcdefghijklmnopqrstuvwxyz", "\xe9\xe8\xe0\xf1", "\u4e00\u4e8c\u4e09", "\u0430\u0431\u0432", "ACGT", "0123456789abcdef"]:
            yield "".join(dice.choice(letters) for _ in range(length))
    yield "".join(f"{PASSAGES[0]}\r\n{PASSAGES[1]}\r{PASSAGES[2]}\n" for _ in range(3))


def surrogates():
    """Lone halves of surrogate pairs, written as JSON escapes: a reader makes them U+FFFD."""
    for text in ["\ud800", "\udc00", "a\ud83d", "\ude00b", "\ude00\ud83d", "x \ud83d y \udc4d z", "\ud800\ud800\udc00", "'\udbff's"]:
        yield text


def adversarial():
    dice = Dice(1)
    yield from ["", " ", "a", "\x00", "\ufeff", "\ufeffabc", "\u0301", "\n"]
    yield from surrogates()
    yield from ends()
    yield from contractions()
    yield from specials(dice)
    yield from repeats()
    yield from words(dice)
    yield from random_texts(dice)
    yield from every_scalar()


def large():
    """Few and long: 10 MB on one line, and a megabyte of one thing without a space."""
    dice = Dice(2)
    line, size = [], 0
    while size < 10_000_000:
        piece = dice.choice(PASSAGES).replace("\n", " ") if dice.below(4) else dice.choice(PIECES)
        piece = re.sub(r"[\r\n]", " ", piece)
        line.append(piece)
        size += len(piece.encode())
    yield "".join(line)
    for run in [" ", "\n", "0", "a", "\u4e00", "\u0301", "ab", "'s"]:
        yield run * (1_000_000 // len(run.encode()))
    yield "".join(dice.choice("abcdefghijklmnop") for _ in range(500_000))


def write(path, texts):
    count = size = 0
    with open(path, "w", encoding="ascii", newline="\n") as out:
        for text in texts:
            out.write(json.dumps({"text": text}) + "\n")
            count += 1
            size += len(text.encode("utf-8", errors="replace"))
    print(f"{path}: {count} texts, {size} bytes", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--real", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    write(arguments.out / "multilingual.jsonl", multilingual(arguments.real))
    write(arguments.out / "adversarial.jsonl", adversarial())
    write(arguments.out / "large.jsonl", large())


if __name__ == "__main__":
    main()
