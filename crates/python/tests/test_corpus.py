"""A corpus read as NumPy views."""

import json
import pickle

import numpy as np
import pytest

import mixdown


def test_documents_are_views_that_decode_to_the_text(corpora):
    corpus = mixdown.Corpus(corpora / "general")
    texts = {}
    for line in open(corpora / "general.jsonl"):
        record = json.loads(line)
        texts[record["id"]] = record["text"]
    lengths = corpus.lengths()
    assert len(corpus) == len(lengths) > 250
    assert corpus.num_tokens == lengths.sum() and corpus.dtype == "uint16"
    for number in (0, 1, len(corpus) - 1):
        ids = corpus[number]
        assert ids.dtype == np.uint16 and len(ids) == lengths[number]
        assert not ids.flags.writeable and not ids.flags.owndata
        assert np.shares_memory(ids, corpus.shard(0))
        assert ids[-1] == corpus.end_of_text
        assert corpus.decode(ids[:-1]) == texts[corpus.document_id(number)]
    assert sum(len(corpus.shard(number)) for number in range(corpus.num_shards)) == corpus.num_tokens


def test_documents_are_indexed_as_a_list_is(corpora):
    corpus = mixdown.Corpus(corpora / "general", "holdout")
    last = corpus[len(corpus) - 1]
    assert np.array_equal(corpus[-1], last)
    assert np.array_equal(corpus[np.int64(-1)], last)
    assert [len(ids) for ids in corpus[-2:]] == list(corpus.lengths()[-2:])
    assert sum(len(ids) for ids in corpus) == corpus.num_tokens
    for beyond in (len(corpus), -len(corpus) - 1):
        with pytest.raises(IndexError, match="document"):
            corpus[beyond]
    with pytest.raises(TypeError):
        corpus["first"]


def test_labels_are_read_from_the_mask(corpora):
    corpus = mixdown.Corpus(corpora / "pairs")
    assert corpus.is_labelled and 0 < corpus.num_loss_tokens < corpus.num_tokens
    mask = corpus.loss_mask(0)
    assert mask.dtype == np.uint8 and len(mask) == len(corpus[0]) and set(mask) == {0, 1}
    assert corpus.decode(corpus[0][mask == 0]).endswith("? ")
    plain = mixdown.Corpus(corpora / "general")
    assert not plain.is_labelled and plain.num_loss_tokens == plain.num_tokens


def test_a_pickled_corpus_is_opened_again(corpora):
    corpus = mixdown.Corpus(corpora / "general")
    again = pickle.loads(pickle.dumps(corpus))
    assert again.fingerprint == corpus.fingerprint and np.array_equal(again[3], corpus[3])


def test_what_is_no_corpus(corpora, tmp_path):
    with pytest.raises(FileNotFoundError, match="manifest") as caught:
        mixdown.Corpus(tmp_path)
    assert isinstance(caught.value, mixdown.MixdownError) and str(tmp_path) in str(caught.value)
    with pytest.raises(ValueError, match='split: expected "train" or "holdout", got "test"'):
        mixdown.Corpus(corpora / "general", "test")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(mixdown.DataError, match="manifest.json"):
        mixdown.Corpus(tmp_path)
