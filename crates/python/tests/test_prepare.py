"""Preparing from Python: the same bytes, progress, errors and Ctrl-C."""

import os
import subprocess
import sys
import threading
import time

import pytest

import mixdown
from conftest import TOKENIZER, write_documents

OPTIONS = {"end_of_text": "<|endoftext|>", "progress": False}


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_report_tells_what_was_made_and_threads_change_no_byte(corpora, tmp_path):
    inputs = corpora / "general.jsonl"
    reports = [
        mixdown.prepare(inputs, TOKENIZER, tmp_path / str(threads), threads=threads, holdout=0.1, **OPTIONS)
        for threads in (1, 3)
    ]
    assert reports[0] == reports[1] and tree(tmp_path / "1") == tree(tmp_path / "3")
    corpus = mixdown.Corpus(tmp_path / "1")
    assert reports[0]["train_documents"] == len(corpus)
    assert reports[0]["fingerprint"] == corpus.fingerprint
    assert reports[0]["train_documents"] + reports[0]["holdout_documents"] == 300


def write_much(path, seed, times=150):
    """Some 30 MB."""
    write_documents(path, 500, "one two three four five six".split(), seed)
    path.write_bytes(path.read_bytes() * times)


def test_progress_is_told(tmp_path):
    write_much(tmp_path / "many.jsonl", 9)
    seen = []
    note = lambda *at: seen.append(at)  # noqa: E731
    options = {**OPTIONS, "progress": note}
    mixdown.prepare(tmp_path / "many.jsonl", TOKENIZER, tmp_path / "out", threads=1, **options)
    assert seen and {stage for stage, _, _ in seen} <= {"tokenizing", "comparing", "writing"}
    assert all(0 <= done <= total for _, done, total in seen)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"inputs": []}, ValueError, "at least one file"),
        ({"inputs": "none.jsonl"}, FileNotFoundError, "none.jsonl"),
        ({"tokenizer": "none.json"}, FileNotFoundError, "none.json"),
        ({"holdout": "half"}, ValueError, "holdout"),
        ({"bos": "first"}, ValueError, "bos"),
        ({"end_of_text": "<none>"}, ValueError, "<none>"),
        ({"text_field": "body"}, ValueError, "body"),
        ({"train_on": "user"}, ValueError, "unknown variant `user`"),
        ({"prompt_field": "prompt"}, ValueError, "prompt_field and completion_field"),
        ({"template_date": "today"}, ValueError, "template_date"),
        ({"seed": -1}, ValueError, "-1"),
        ({"pack": 0}, ValueError, "pack"),
    ],
)
def test_what_cannot_be_prepared(corpora, tmp_path, changes, error, message):
    options = {"inputs": corpora / "general.jsonl", "tokenizer": TOKENIZER, "out": tmp_path / "out", **OPTIONS}
    with pytest.raises(error, match=message) as caught:
        mixdown.prepare(**{**options, **changes})
    assert isinstance(caught.value, mixdown.MixdownError)


def test_a_finished_corpus_is_not_made_again(corpora):
    with pytest.raises(mixdown.ConfigurationError, match="general"):
        mixdown.prepare(corpora / "general.jsonl", TOKENIZER, corpora / "general", **OPTIONS)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_stops_and_the_same_call_goes_on(tmp_path):
    for number in range(4):
        write_much(tmp_path / f"{number}.jsonl", number)
    arguments = (tmp_path, TOKENIZER, tmp_path / "out")
    # The signal comes from the process itself: another one may be given no time before the work is done. What runs in
    # the background of a shell has been told to ignore it.
    code = (
        "import mixdown, os, signal, sys, threading\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "interrupt = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))\n"
        "note = lambda *_: interrupt.ident or interrupt.start()\n"
        "try:\n"
        "    mixdown.prepare(sys.argv[1] + '/*.jsonl', *sys.argv[2:], threads=1, progress=note,\n"
        "                    end_of_text='<|endoftext|>')\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120)
    assert (child.stdout, child.returncode) == ("interrupted\n", 0)
    assert not (tmp_path / "out" / "manifest.json").exists()
    mixdown.prepare(str(tmp_path / "*.jsonl"), TOKENIZER, tmp_path / "out", **OPTIONS)
    mixdown.prepare(str(tmp_path / "*.jsonl"), TOKENIZER, tmp_path / "again", **OPTIONS)
    assert tree(tmp_path / "out") == tree(tmp_path / "again")


def test_other_threads_run_meanwhile(corpora, tmp_path):
    ticks, ended = [], threading.Event()

    def tick():
        while not ended.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.005)

    thread = threading.Thread(target=tick)
    thread.start()
    mixdown.prepare(corpora / "general.jsonl", TOKENIZER, tmp_path / "out", **OPTIONS)
    ended.set()
    thread.join()
    assert len(ticks) > 5


def test_a_string_is_one_path_or_pattern(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    write_documents(folder / "a.jsonl", 10, ["river", "town"], 1)
    (folder / "README.md").write_text("Not a part of the data.")
    options = {"end_of_text": "<|endoftext|>", "progress": False}

    def prepared(name, **more):
        return mixdown.prepare(folder, TOKENIZER, tmp_path / name, **{"holdout": 0, **options, **more})

    assert prepared("all")["train_documents"] == 11
    assert prepared("include", include="*.jsonl")["train_documents"] == 10
    assert prepared("exclude", exclude="README.md")["train_documents"] == 10
    assert prepared("lists", include=["*.jsonl"], exclude=("*.md",))["train_documents"] == 10
    held_out = prepared("held-out", include="*.jsonl", holdout_input=str(folder / "README.md"), holdout=None)
    assert (held_out["train_documents"], held_out["holdout_documents"]) == (10, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": None}, "inputs: expected a list, got None"),
        ({"inputs": {"text": ["a"]}}, "inputs: expected a list"),
        ({"inputs": [b"a.jsonl"]}, r"inputs\[0\]: expected a path"),
        ({"include": 1}, "include: expected a list, got 1"),
        ({"exclude": [1]}, r"exclude\[0\]: expected text, got 1"),
        ({"holdout_input": [None]}, r"holdout_input\[0\]: expected a path, got None"),
        ({"tokenizer": None}, "tokenizer: expected a path, got None"),
        ({"out": ["a"]}, r"out: expected a path, got \['a'\] \(list\)"),
        ({"text_field": 1.5}, "text_field: expected text or a whole number, got 1.5"),
    ],
)
def test_wrong_types_are_named(tmp_path, changes, message):
    arguments = {"inputs": tmp_path, "tokenizer": TOKENIZER, "out": tmp_path / "out", "progress": False, **changes}
    with pytest.raises(mixdown.ConfigurationError, match=message):
        mixdown.prepare(**arguments)
