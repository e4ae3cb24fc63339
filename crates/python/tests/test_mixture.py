"""A mixture's description, plan and order."""

import json
import pickle
import shutil
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import mixdown
from conftest import TOKENIZER, mixture_of


def order_of(mixture, slots=200):
    return np.stack(list(mixture.order(0, slots).values()))


def test_toml_mapping_and_keywords_describe_the_same_mixture(corpora, mixture, mix_toml, monkeypatch):
    expected = order_of(mixture)
    assert np.array_equal(order_of(mixdown.Mixture(mix_toml)), expected)
    assert np.array_equal(order_of(mixdown.Mixture(str(mix_toml))), expected)
    source = [
        {"name": "math", "corpus": "math", "weight": "90%"},
        {"name": "general", "corpus": "general", "weight": "10%"},
    ]
    description = {"sequence_length": 32, "batch_size": 12, "seed": 7, "source": source}
    monkeypatch.chdir(corpora)
    by_mapping = mixdown.Mixture(description)
    assert np.array_equal(order_of(by_mapping), expected)
    monkeypatch.chdir("/")
    # The folder that paths count from is kept.
    assert np.array_equal(order_of(pickle.loads(pickle.dumps(by_mapping))), expected)


def test_shares_are_exact_at_every_slot(mixture):
    source = mixture.order(0, 1_000)["source"]
    assert mixture.sources == ["math", "general"]
    slots = np.arange(1, 1_001)
    assert np.abs(np.cumsum(source == 1) - slots * 0.1).max() <= 0.5


def test_the_plan_says_what_a_run_delivers(mixture):
    plan = mixture.plan("3840 tokens")
    assert (plan["steps"], plan["sequences"], plan["tokens"]) == (10, 120, 3_840)
    math, general = plan["sources"]
    assert (math["name"], math["sequences"], general["sequences"]) == ("math", 108, 12)
    assert general["realised"] == pytest.approx(0.1) and math["epochs"] > 0
    assert mixture.steps(7) == 7 and mixture.steps("1 epoch of general") > 100


def test_weights_may_be_exact_numbers(corpora, mixture):
    def with_weights(math, general):
        return mixture_of(
            corpora, sources={"math": (corpora / "math", math), "general": (corpora / "general", general)}
        )

    expected = order_of(mixture)
    for math, general in (
        (Fraction(9, 10), Fraction(1, 10)),
        (Decimal("0.9"), Decimal("0.1")),
        (Decimal("9e-7"), Decimal("1e-7")),
        (Fraction(9), 1),
        (np.int64(9), np.uint8(1)),
    ):
        assert np.array_equal(order_of(with_weights(math, general)), expected), (math, general)
    for wrong in (Decimal("nan"), Decimal("inf"), Decimal("-1"), Fraction(-1, 2), complex(1, 0)):
        with pytest.raises(mixdown.ConfigurationError):
            with_weights(wrong, 1)


class Frame:
    """What a table of pandas looks like to whoever iterates over it: its columns' names."""

    columns = ("text",)

    def __iter__(self):
        return iter(self.columns)

    def items(self):
        return zip(self.columns, self.columns)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: mixture_of(c, sources=[("math", 1)]), "sources: expected a mapping of names"),
        (lambda c: mixture_of(c, sources=Frame()), "sources: expected a mapping of names"),
        (lambda c: mixture_of(c, sources={1: (c / "math", 1)}), "sources: expected names that are text, got 1"),
        (lambda c: mixture_of(c, sources={"math": (c / "math", 1, 2)}), r"sources\['math'\]: expected \(corpus"),
        (lambda c: mixture_of(c, stages="5 steps"), 'stages: expected a list, got "5 steps"'),
        (lambda c: mixture_of(c, stages={"start": "5 steps"}), "stages: expected a list"),
        (lambda c: mixture_of(c, stages=["5 steps"]), r"stages\[0\]: expected a mapping"),
        (lambda c: mixdown.Mixture(17), "description: expected the path of a MIX.toml or a mapping, got 17"),
        (lambda c: mixdown.Mixture(Frame()), "description: expected the path"),
        (lambda c: mixdown.Corpus(None), "path: expected a path, got None"),
        (lambda c: mixdown.Corpus(Frame()), "path: expected a path"),
        (lambda c: mixdown.Corpus(c / "math").decode("ids"), 'ids: expected a list, got "ids"'),
        (lambda c: mixdown.Corpus(c / "math").decode([1.5]), r"ids\[0\]: expected a whole number"),
        (lambda c: mixdown.Corpus(c / "math").decode([-1]), r"ids\[0\]: expected a whole number"),
        (lambda c: mixdown.MixtureDataset(mixture_of(c), 5, fields=[1]), r"fields\[0\]: expected text, got 1"),
        (lambda c: mixdown.MixtureDataset(mixture_of(c), 5, fields="slots"), 'fields: expected one of .* got "slots"'),
        (
            lambda c: mixdown.MixtureDataset(mixture_of(c), 5, format="numpy").step_of("latest"),
            "state: expected the mapping",
        ),
    ],
)
def test_wrong_types_are_named(corpora, make, message):
    with pytest.raises(mixdown.ConfigurationError, match=message):
        make(corpora)


def test_stages_and_limits_are_passed_on(corpora):
    general = {"corpus": corpora / "general", "weight": "10%", "max_tokens": 1_000, "max_epochs": 2}
    mixture = mixture_of(
        corpora,
        sources={"math": (corpora / "math", "90%"), "general": general},
        stages=[{"start": "5 steps", "weights": {"math": "50%", "general": "50%"}}],
    )
    source = mixture.order(0, 120)["source"]
    assert (source[:60].sum(), source[60:].sum()) == (6, 30)
    with pytest.raises(mixdown.ConfigurationError, match="max_epochs"):
        mixture.steps(1_000)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"sequence_length": None}, ValueError, "sequence_length"),
        ({"sequence_length": 0}, ValueError, "sequence_length"),
        ({"sequence_length": -1}, ValueError, 'got "-1": it is negative'),
        ({"sequence_length": 10**9}, ValueError, "general|math"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"batch_size": "twelve"}, ValueError, 'got "twelve"'),
        ({"seed": 1 << 64}, ValueError, "more digits than 64 bits hold"),
        ({"sources": {}}, ValueError, "source"),
        ({"sources": {"math": "corpora/math"}}, ValueError, r"sources\['math'\]: expected \(corpus, weight\)"),
        ({"sources": {"math": ("nowhere", 1)}}, FileNotFoundError, "nowhere"),
        ({"sources": {"math": ("nowhere", 0)}}, ValueError, "zero"),
        ({"sources": {"math": ("nowhere", 0.1)}}, ValueError, "float"),
        ({"sources": {"math": ("nowhere", float("nan"))}}, ValueError, "got NaN"),
        ({"sources": {"math": ("nowhere", "-1%")}}, ValueError, "-1%"),
        ({"sources": {"math": {"corpus": "nowhere", "wieght": 1}}}, ValueError, "unknown field `wieght`"),
        ({"weight_unit": "bytes"}, ValueError, "unknown variant `bytes`"),
        ({"stages": [{"start": "soon", "weights": {}}]}, ValueError, "soon"),
        ({"access": object()}, ValueError, "cannot be part of a description"),
    ],
)
def test_what_no_mixture_can_be(corpora, changes, error, message):
    with pytest.raises(error, match=message) as caught:
        mixture_of(corpora, **changes)
    assert isinstance(caught.value, mixdown.MixdownError)


def test_what_no_file_can_be(mix_toml):
    with pytest.raises(mixdown.NotFoundError, match="none.toml"):
        mixdown.Mixture("none.toml")
    with pytest.raises(mixdown.ConfigurationError, match="a description or keywords, got both"):
        mixdown.Mixture(mix_toml, seed=1)
    mix_toml.write_text(mix_toml.read_text().replace("weight", "wieght"))
    with pytest.raises(mixdown.ConfigurationError, match="mix.toml: TOML parse error at line 7"):
        mixdown.Mixture(mix_toml)


def test_one_rank_checks_for_all(corpora, tmp_path):
    for name in ("math", "general"):
        shutil.copytree(corpora / name, tmp_path / name)
    expected = order_of(mixture_of(tmp_path))
    # A held-out part that another source trains on, and a file that is missing.
    overlapping = {"math": (tmp_path / "math", 1), "general": (tmp_path / "general", 1)}
    shutil.rmtree(tmp_path / "general")
    documents = [json.loads(line) for line in open(corpora / "math.jsonl")]
    texts = "".join(json.dumps({"text": document["text"]}) + "\n" for document in documents)
    (tmp_path / "same.jsonl").write_text(texts)
    options = {"end_of_text": "<|endoftext|>", "holdout": "50%", "seed": 5, "progress": False}
    mixdown.prepare(tmp_path / "same.jsonl", TOKENIZER, tmp_path / "general", **options)
    with pytest.raises(mixdown.ConfigurationError, match="no held-out document in the training part"):
        mixture_of(tmp_path, sources=overlapping)
    assert mixture_of(tmp_path, sources=overlapping, check=False).sources == ["math", "general"]
    shutil.rmtree(tmp_path / "general")
    shutil.copytree(corpora / "general", tmp_path / "general")
    next((tmp_path / "math" / "train").glob("*.idx")).unlink()
    with pytest.raises(mixdown.MixdownError, match="idx"):
        mixture_of(tmp_path)
    assert np.array_equal(order_of(mixture_of(tmp_path, check=False)), expected)


def test_a_corpus_that_changed_or_went_is_noticed(corpora, tmp_path):
    for name in ("math", "general"):
        shutil.copytree(corpora / name, tmp_path / name)
    mixture = mixture_of(tmp_path)
    pickled = pickle.dumps(mixture)
    expected = order_of(mixture)
    # What is mapped stays readable when its files go.
    dataset = mixdown.MixtureDataset(mixture, 4, format="numpy")
    batches = [batch["input_ids"].sum() for batch in dataset.batches()]
    shutil.rmtree(tmp_path / "general")
    assert [batch["input_ids"].sum() for batch in dataset.batches()] == batches
    assert np.array_equal(order_of(mixture), expected)
    with pytest.raises(FileNotFoundError, match="general"):
        pickle.loads(pickled)
    shutil.copytree(corpora / "pairs", tmp_path / "general")
    with pytest.raises(mixdown.ConfigurationError, match="general"):
        pickle.loads(pickled)
