"""Damaged and unfit data, as Python users meet them: the class, and what the message names."""

import json
import shutil

import pytest

import mixdown
from conftest import TOKENIZER, mixture_of

OTHER_TOKENIZER = TOKENIZER.with_name("llama3.json")
OPTIONS = {"end_of_text": "<|endoftext|>", "progress": False, "holdout": 0}


@pytest.fixture
def copied(corpora, tmp_path):
    """Corpora of this test's own, to be damaged."""
    for name in ("math", "general", "pairs"):
        shutil.copytree(corpora / name, tmp_path / name)
    return tmp_path


def shard_of(folder, extension):
    return folder / "train" / f"shard-00000.{extension}"


def edit_manifest(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def assert_raises(error, *words):
    """The context of one error, whose message holds all of the words."""
    return pytest.raises(error, match="(?s)" + "".join(f"(?=.*{word})" for word in words))


def test_a_truncated_shard_is_named_when_it_is_opened(copied):
    path = shard_of(copied / "math", "bin")
    path.write_bytes(path.read_bytes()[:-2])
    with assert_raises(mixdown.DataError, "math", "shard-00000.bin", "expected a file of", "got"):
        mixture_of(copied)
    with assert_raises(mixdown.DataError, "shard-00000.bin"):
        mixdown.Corpus(copied / "math")


def test_an_id_beyond_the_vocabulary_is_named_with_its_place(copied):
    path = shard_of(copied / "general", "bin")
    ids = bytearray(path.read_bytes())
    ids[:] = b"\xff\xff" * (len(ids) // 2)
    path.write_bytes(ids)
    dataset = mixdown.MixtureDataset(mixture_of(copied), 10, format="numpy")
    with assert_raises(mixdown.DataError, "general", "shard-00000.bin", "65535", "below|vocab"):
        list(dataset)
    with assert_raises(mixdown.DataError, "65535"):
        list(dataset.batches())


def test_a_damaged_mask_is_named(copied):
    path = shard_of(copied / "pairs", "mask")
    path.write_bytes(b"\x07" * path.stat().st_size)
    mixture = mixture_of(copied, sources={"pairs": (copied / "pairs", 1)})
    with assert_raises(mixdown.DataError, "shard-00000.mask", "7"):
        mixdown.MixtureDataset(mixture, 1, format="numpy").batch(0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(version=99), ["version", "99"]),
        (lambda m: m.update(format="other"), ["format", "other"]),
        (lambda m: m.pop("dtype"), ["dtype"]),
        (lambda m: m.update(vocab_size=0), ["vocab_size", "got 0"]),
        (lambda m: m["train"].update(tokens=5), ["train.tokens", "got 5"]),
        (lambda m: m["train"]["shards"][0].update(file="../../etc/passwd"), ["file", "passwd"]),
        (lambda m: m["train"]["shards"][0].update(bin_root="0" * 64), ["fingerprint"]),
    ],
)
def test_a_manifest_that_contradicts_itself(copied, change, words):
    edit_manifest(copied / "math", change)
    with assert_raises(mixdown.DataError, "manifest.json", *words):
        mixdown.Corpus(copied / "math")


def test_corpora_of_other_tokenizers_do_not_mix(corpora, copied):
    shutil.rmtree(copied / "general")
    options = {**OPTIONS, "end_of_text": "<|end_of_text|>"}
    mixdown.prepare(corpora / "general.jsonl", OTHER_TOKENIZER, copied / "general", **options)
    with assert_raises(mixdown.ConfigurationError, "math", "general", "tokenizer"):
        mixture_of(copied)


def test_packed_rows_have_the_length_that_they_were_packed_for(corpora, copied):
    pairs = {"prompt_field": "prompt", "completion_field": "completion", "pack": 64}
    mixdown.prepare(corpora / "pairs.jsonl", TOKENIZER, copied / "packed", **pairs, **OPTIONS)
    sources = {"packed": (copied / "packed", 1)}
    with assert_raises(mixdown.ConfigurationError, "packed", "32", "64"):
        mixture_of(copied, sources=sources)
    batch = next(
        mixdown.MixtureDataset(mixture_of(copied, sources=sources, sequence_length=64), 1, format="numpy").batches()
    )
    assert batch["input_ids"].shape == (12, 64) and (batch["labels"] == -100).any()


def test_a_source_without_loss_targets_has_no_share_of_them(corpora, copied):
    sources = {"pairs": (corpora / "pairs", "50%"), "math": (corpora / "math", "50%")}
    mixture = mixture_of(copied, sources=sources, weight_unit="loss_tokens")
    pairs, math = mixture.plan(50)["sources"]
    # Few tokens of a pair are targets, so more of its sequences make up half of all targets.
    assert pairs["sequences"] > 2 * math["sequences"]


def test_bad_records_are_named_with_their_line(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "fine"}\n{"text": 5}\n{"text": "fine too"}\n')
    with assert_raises(mixdown.DataError, "bad.jsonl", "line 2", "skip"):
        mixdown.prepare(path, TOKENIZER, tmp_path / "out", **OPTIONS)
    report = mixdown.prepare(path, TOKENIZER, tmp_path / "again", skip_bad=1, **OPTIONS)
    assert report["counts"]["bad_records"] == 1 and report["train_documents"] == 2


def test_a_damaged_tokenizer_is_no_crash(corpora, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": 5}')
    with assert_raises(mixdown.MixdownError, "tokenizer.json"):
        mixdown.prepare(corpora / "math.jsonl", path, tmp_path / "out", **OPTIONS)


def test_a_folder_in_use_is_left_alone(corpora, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with assert_raises(mixdown.ConfigurationError, "out", "notes.txt|holds|empty"):
        mixdown.prepare(corpora / "math.jsonl", TOKENIZER, tmp_path / "out", **OPTIONS)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]
