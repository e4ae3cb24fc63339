"""The commands and snippets of the README and of every page of the guide, run in the order in which they stand.

Each page is run in a folder of its own that has what the demo leaves (some prose), the crates of this repository and a
tokenizer. Lines of cargo and pip are steps of continuous integration itself. Trainings are cut to a few steps.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TOKENIZER, write_documents

ROOT = Path(__file__).parents[3]
PAGES = ["README.md", "crates/python/README.md", *(f"docs/guide/{p.name}" for p in (ROOT / "docs/guide").glob("*.md"))]
BLOCK = re.compile(r"^( *)```(sh|python|toml)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
BINARY = Path(os.environ.get("MIXDOWN", ROOT / "target" / "release" / "mixdown"))


def blocks_of(page):
    for indent, language, text in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        yield language, "".join(line.removeprefix(indent) for line in text.splitlines(keepends=True))


def has_torch():
    return subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def with_try(tmp_path_factory):
    """The folder of README's own walk, begun: prose, crates and a small tokenizer."""
    folder = tmp_path_factory.mktemp("docs")
    prose = folder / "mixdown-demo" / "text"
    prose.mkdir(parents=True)
    write_documents(prose / "pretraining.jsonl", 1_500, "the river town letter winter road music".split(), 1)
    write_documents(prose / "target.jsonl", 1_500, "let mut self match return usize".split(), 2)
    crates = folder / "crates"
    for name in ("mixer", "shards"):
        shutil.copytree(ROOT / "crates" / name / "src", crates / name)
    run_shell(
        "mixdown tokenizer train mixdown-demo/text/pretraining.jsonl crates --vocab-size 512 --out tokenizer.json\n"
        "mixdown prepare mixdown-demo/text/pretraining.jsonl --tokenizer tokenizer.json --out try/general "
        "--holdout 5%\n"
        "mixdown prepare crates --tokenizer tokenizer.json --out try/target --holdout 10%\n",
        folder,
    )
    return folder


def run_shell(text, folder):
    # What the demo gathers is there already.
    lines = [line for line in text.splitlines() if not line.startswith(("cargo ", "pip ", "mixdown demo"))]
    # Trainings of hundreds of steps are for people.
    text = re.sub(r"(mixdown train\b(?:[^\n]*\\\n)*[^\n]*--steps) \d+", r"\1 4", "\n".join(lines))
    path = f"{BINARY.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    result = subprocess.run(
        ["sh", "-euc", text], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, f"{text}\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}"


def run_python(text, folder):
    if "transformers" in text and subprocess.run([sys.executable, "-c", "import transformers"]).returncode != 0:
        return
    if not has_torch():
        text = re.sub(r"(MixtureDataset\([^)]*?)steps=", r'\1format="numpy", steps=', text)
    result = subprocess.run([sys.executable, "-c", text], cwd=folder, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, f"{text}\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}"


@pytest.mark.skipif(not BINARY.exists(), reason="the binary is not built: cargo build --release")
@pytest.mark.skipif(os.name == "nt", reason="commands for a POSIX shell")
@pytest.mark.parametrize("page", PAGES)
def test_the_page_does_what_it_says(with_try, tmp_path, page):
    shutil.copytree(with_try, tmp_path / "page", dirs_exist_ok=True)
    folder = tmp_path / "page"
    if page == "README.md":
        shutil.rmtree(folder / "try")
    blocks = list(blocks_of(page))
    for language, text in blocks:
        if language == "toml":
            (folder / "mix.toml").write_text(text)
    for language, text in blocks:
        if language == "sh":
            run_shell(text, folder)
            if page == "README.md":
                # What is done is not done twice.
                run_shell(text, folder)
        elif language == "python":
            run_python(text, folder)


def test_every_page_is_found():
    assert {"README.md", "docs/guide/choose-p.md", "docs/guide/feed-a-trainer.md"} <= set(PAGES)
    assert sum(len(list(blocks_of(page))) for page in PAGES) >= 14
    assert TOKENIZER.exists()
