"""Every example, run with the library that it is for, in the mixture's exact order."""

import json
import os
import random
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import mixdown
from conftest import TOKENIZER

torch = pytest.importorskip("torch")

EXAMPLES = Path(__file__).parents[1] / "examples"
BINARY = Path(os.environ.get("MIXDOWN", Path(__file__).parents[3] / "target" / "release" / "mixdown"))
T, B, STEPS = 32, 12, 12
VOCAB_SIZE = 1024


@pytest.fixture(autouse=True)
def examples_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))


class Recorder(torch.nn.Module):
    """A bigram model that keeps what it was trained on."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(VOCAB_SIZE, VOCAB_SIZE)
        self.seen = []

    def forward(self, input_ids):
        if self.training:
            self.seen.extend(input_ids.reshape(-1, T).clone())
        return self.table(input_ids)


def rows_of(mixture, steps=STEPS, start=0, **options):
    batches = mixdown.MixtureDataset(mixture, steps, **options).batches(start=start)
    return [row for batch in batches for row in batch["input_ids"].clone()]


def assert_rows(seen, expected):
    assert len(seen) == len(expected)
    assert all(torch.equal(torch.as_tensor(one).long(), other) for one, other in zip(seen, expected))


def test_accelerate(mixture):
    pytest.importorskip("accelerate")
    from accelerate_loop import train

    model = Recorder()
    state = train(model, mixture, 8, workers=2)
    train(model, mixture, STEPS, state=state)
    assert_rows(model.seen, rows_of(mixture))


def test_lightning(mixture, tmp_path):
    pytest.importorskip("lightning")
    pytest.importorskip("torchdata")
    from lightning.pytorch.callbacks import ModelCheckpoint

    from lightning_trainer import train

    options = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": tmp_path,
    }
    model = Recorder()
    saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=5, save_top_k=-1)
    train(model, mixture, STEPS, callbacks=[saving], **options)
    assert_rows(model.seen, rows_of(mixture))
    model.seen.clear()
    train(model, mixture, STEPS, tmp_path / "step=5.ckpt", **options)
    assert_rows(model.seen, rows_of(mixture, start=5))


def test_huggingface_trainer(corpora, mixture, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from huggingface_trainer import train

    class Recording(transformers.LlamaForCausalLM):
        seen = []

        def forward(self, input_ids=None, labels=None, **inputs):
            self.seen.extend(input_ids.clone())
            return super().forward(input_ids=input_ids, labels=labels, **inputs)

    config = transformers.LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    options = {"use_cpu": True, "save_steps": 5, "disable_tqdm": True, "logging_strategy": "no"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", mixdown.OrderWarning)
        train(Recording(config), mixture, STEPS, tmp_path, **options)
        expected = rows_of(mixture, labels="hf")
        assert_rows(Recording.seen, expected)
        Recording.seen.clear()
        checkpoint = tmp_path / "checkpoint-5"
        train(Recording(config), mixture, STEPS, tmp_path, resume_from_checkpoint=checkpoint, **options)
    assert_rows(Recording.seen, expected[5 * B :])


def test_torchtitan(mixture, mix_toml):
    pytest.importorskip("torchtitan.components.dataloader")
    from torchtitan_dataloader import MixdownDataLoader

    def loader(rank, world_size, **changes):
        config = MixdownDataLoader.Config(mixture=str(mix_toml), steps=str(STEPS))
        shape = {"seq_len": T, "local_batch_size": B // world_size, **changes}
        return config.build(dp_world_size=world_size, dp_rank=rank, tokenizer=None, **shape)

    loaders = [loader(rank, 2) for rank in range(2)]
    expected = rows_of(mixture)
    seen, states = [], []
    for one in loaders:
        batches = iter(one)
        seen.append([next(batches)[0]["input"].clone() for _ in range(7)])
        states.append(one.state_dict())
    assert states[0] == states[1]
    again = loader(0, 1)
    again.load_state_dict(states[0])
    for inputs, labels in again:
        assert inputs["positions"].shape == labels.shape == (B, T)
        seen[0].append(inputs["input"])
    rows = {row.numpy().tobytes() for part in seen for batch in part for row in batch}
    assert rows == {row.numpy().tobytes() for row in expected}
    assert_rows([row for batch in seen[0][7:] for row in batch], expected[7 * B :])
    with pytest.raises(ValueError, match="expected sequence_length 64"):
        loader(0, 1, seq_len=64)


def test_grain_and_jax(mixture, mix_toml):
    pytest.importorskip("grain")
    pytest.importorskip("jax")
    from grain_jax import loader_of, train

    seen = [row for batch in loader_of(mixture, STEPS) for row in batch["input_ids"]]
    assert_rows(seen, rows_of(mixture))
    losses = list(train(mixture, STEPS))
    assert len(losses) == STEPS and losses[-1] < losses[0]
    command = [sys.executable, str(EXAMPLES / "grain_jax.py"), str(mix_toml), f"--steps={STEPS}", "--workers=2"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    with_workers = [float(line.split()[-1]) for line in result.stdout.splitlines()]
    assert with_workers == pytest.approx(losses, abs=1e-4)


def test_megatron(corpora, mixture, labeled):
    from megatron_dataset import MegatronDataset

    dataset = MegatronDataset(mixture, STEPS)
    loader = torch.utils.data.DataLoader(dataset, batch_size=B, num_workers=2)
    assert_rows([row for batch in loader for row in batch["tokens"]], rows_of(mixture))
    sample = dataset[3]
    assert torch.equal(sample["tokens"][1:], sample["labels"][:-1]) and sample["loss_mask"].sum() == T
    masked = next(iter(torch.utils.data.DataLoader(MegatronDataset(labeled, 1, True), batch_size=B)))
    assert (masked["labels"] >= 0).all() and 0 < masked["loss_mask"].sum() < B * T
    assert (masked["position_ids"] == 0).sum() > B


def test_megatron_samples_are_like_those_of_gpt_dataset(corpora, mixture, tmp_path):
    datasets = pytest.importorskip("megatron.core.datasets.gpt_dataset")
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from megatron.core.datasets.utils import Split

    from megatron_dataset import MegatronDataset

    class Tokenizer:
        eod = 0
        pad = -1
        unique_identifiers = {}
        vocab_size = VOCAB_SIZE

    config = datasets.GPTDatasetConfig(
        random_seed=1,
        sequence_length=T,
        blend=([str(corpora / "math" / "train" / "shard-00000")], None),
        split="1,0,0",
        path_to_cache=str(tmp_path),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
        tokenizer=Tokenizer(),
    )
    indexed = IndexedDataset(str(corpora / "math" / "train" / "shard-00000"))
    documents = np.arange(len(indexed), dtype=np.int32)
    theirs = datasets.GPTDataset(indexed, None, documents, 5, Split.train, config)[0]
    ours = MegatronDataset(mixture, STEPS)[0]
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (tensor.dtype, tensor.shape), name


def launched(example, processes, *arguments, launcher=()):
    """The losses that an example prints, run by as many processes."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher or torchrun), str(EXAMPLES / example), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr[-2000:]
    return [float(line.split()[-1]) for line in result.stdout.splitlines() if line.startswith("step ")]


@pytest.fixture
def labeled_toml(corpora, tmp_path):
    """Pairs whose targets are few and lie unevenly, mixed with text in which every token is a target."""
    write_uneven_pairs(tmp_path / "uneven.jsonl")
    pairs = {"prompt_field": "prompt", "completion_field": "completion"}
    options = {"end_of_text": "<|endoftext|>", "holdout": 0, "progress": False}
    mixdown.prepare(tmp_path / "uneven.jsonl", TOKENIZER, tmp_path / "uneven", **pairs, **options)
    path = tmp_path / "labeled.toml"
    general = os.path.relpath(corpora / "general", tmp_path)
    source = '[[source]]\nname = "{}"\ncorpus = "{}"\nweight = "{}"\n'
    sources = source.format("pairs", "uneven", "95%") + source.format("general", general, "5%")
    path.write_text("sequence_length = 32\nbatch_size = 16\nseed = 7\n" + sources)
    return path


def write_uneven_pairs(path):
    pick = random.Random(5)
    with open(path, "w") as file:
        for number in range(150):
            words = " ".join(pick.choice(["river", "town", "letter"]) for _ in range(pick.randint(10, 150)))
            answer = " ".join(pick.choice(["yes", "no"]) for _ in range(pick.randint(1, 9)))
            file.write(json.dumps({"prompt": f"{number} {words}", "completion": answer}) + "\n")


def mean_losses(mixture, steps):
    """The losses of the examples' model as they should be: one process, the mean over the step's targets."""
    mixture = mixdown.Mixture(mixture)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(mixture.vocab_size, 16), torch.nn.Linear(16, mixture.vocab_size))
    batch = next(mixdown.MixtureDataset(mixture, steps).batches())
    logits = model(batch["input_ids"]).flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, batch["labels"].flatten()).item()


def test_ranks_without_a_target_are_among_those_of_a_test(labeled_toml):
    dataset = mixdown.MixtureDataset(labeled_toml, 4)
    counts = [int((dataset.batch(step, rank, 4)["labels"] >= 0).sum()) for step in range(4) for rank in range(4)]
    assert min(counts) < max(counts) / 2


@pytest.mark.parametrize("toml", ["mix_toml", "labeled_toml"])
def test_torchrun(request, toml):
    pytest.importorskip("torch.distributed.run")
    toml = request.getfixturevalue(toml)
    alone = launched("ddp.py", 1, toml, "--steps", 4)
    assert len(alone) == 4 and alone[0] == pytest.approx(mean_losses(toml, 4), abs=1e-4)
    for processes, accumulation in ((2, 1), (4, 1), (1, 3 if "mix" in toml.name else 4), (2, 2)):
        losses = launched("ddp.py", processes, toml, "--steps", 4, "--accumulation", accumulation)
        assert losses == pytest.approx(alone, abs=1.5e-4), (processes, accumulation)


def test_accelerate_on_several_processes(labeled_toml):
    pytest.importorskip("accelerate")
    alone = launched("accelerate_loop.py", 1, labeled_toml, "--steps", 4)
    assert len(alone) == 4 and alone[0] == pytest.approx(mean_losses(labeled_toml, 4), abs=1e-4)
    for processes, accumulation in ((2, 1), (1, 4), (2, 4), (4, 2)):
        losses = launched("accelerate_loop.py", processes, labeled_toml, "--steps", 4, "--accumulation", accumulation)
        assert losses == pytest.approx(alone, abs=1.5e-4), (processes, accumulation)


def test_lightning_on_several_processes(labeled_toml):
    pytest.importorskip("lightning")
    pytest.importorskip("torchdata")
    arguments = [labeled_toml, "--steps", 4]
    alone = launched("lightning_trainer.py", 1, *arguments, launcher=["-u"])
    assert len(alone) == 4 and alone[0] == pytest.approx(mean_losses(labeled_toml, 4), abs=1e-4)
    for processes, accumulation in ((2, 1), (1, 4), (2, 4), (4, 2)):
        more = ["--processes", processes, "--accumulation", accumulation]
        losses = launched("lightning_trainer.py", 1, *arguments, *more, launcher=["-u"])
        assert losses == pytest.approx(alone, abs=1.5e-4), (processes, accumulation)


def test_huggingface_trainer_on_several_processes(labeled_toml, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    config = transformers.LlamaConfig(
        vocab_size=VOCAB_SIZE, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    arguments = [labeled_toml, "--model", tmp_path / "model", "--steps", 4, "--out", tmp_path / "out"]
    alone = launched("huggingface_trainer.py", 1, *arguments)
    assert len(alone) == 4
    for processes, accumulation in ((2, 1), (1, 4), (2, 4), (4, 2)):
        losses = launched("huggingface_trainer.py", processes, *arguments, "--accumulation", accumulation)
        assert losses == pytest.approx(alone, abs=3e-4), (processes, accumulation)


def test_finetuning_from_end_to_end(corpora, tmp_path, monkeypatch, capsys):
    pytest.importorskip("transformers")
    import finetune

    options = ["--target", str(corpora / "math"), "--pretraining", str(corpora / "general"), "--steps", "8"]
    options += ["--sequence-length", "32", "--batch-size", "12", "--save-every", "4", "--eval-sequences", "8"]

    def run(out, *more):
        finetune.main([*options, "--out", str(tmp_path / out), *more])
        return json.loads((tmp_path / out / "losses.json").read_text())

    without = run("without", "--inject", "0%")
    with_some = run("with", "--inject", "25%")
    assert without["before"] == with_some["before"]
    assert with_some["after"]["target"] < with_some["before"]["target"]
    assert with_some["after"]["pretraining"] < without["after"]["pretraining"]
    assert "forgetting:" in capsys.readouterr().out

    # Killed after step 6 of 8, whose last checkpoint is that of step 4, and gone on with other workers.
    train = finetune.train

    def stopped(model, options):
        for step, loss in train(model, options):
            yield step, loss
            if step == 5:
                raise KeyboardInterrupt

    monkeypatch.setattr(finetune, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        run("stopped", "--inject", "25%", "--workers", "1")
    monkeypatch.setattr(finetune, "train", train)
    run("stopped", "--inject", "25%", "--workers", "3")
    names = [tmp_path / out / "model.safetensors" for out in ("with", "stopped")]
    assert names[0].read_bytes() == names[1].read_bytes()
    with pytest.raises(mixdown.ConfigurationError, match="weight|seed|share"):
        run("stopped", "--inject", "30%")


SWEEP = """
pretraining = "{corpora}/general"
p = ["0", "25%"]
target_tokens = [640]
command = "'{python}' '{trainer}' {{run}}"
[train]
sequence_length = 32
batch_size = 4
epochs = 2
warmup_steps = 2
[eval]
sequences = 8
[[domain]]
name = "math"
corpus = "{corpora}/math"
[[model]]
name = "16"
hidden_size = 16
layers = 1
heads = 2
tokens = 2_000
"""


@pytest.mark.skipif(not BINARY.exists(), reason="the binary is not built: cargo build --release")
def test_a_sweep_with_a_trainer_in_pytorch(corpora, tmp_path):
    pytest.importorskip("transformers")
    settings = SWEEP.format(corpora=corpora, python=sys.executable, trainer=EXAMPLES / "sweep_trainer.py")
    (tmp_path / "own.toml").write_text(settings)
    (tmp_path / "same.toml").write_text(re.sub("command = .*", "", settings))
    rows = {}
    for name in ("own", "same"):
        command = [BINARY, "sweep", f"{name}.toml", "--out", name, "--json"]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        rows[name] = json.loads(result.stdout)["runs"]
    for own, same in zip(rows["own"], rows["same"], strict=True):
        for column in ("run_id", "target_tokens", "p_requested", "horizon_steps", "tokenizer", "base_tokens"):
            assert own[column] == same[column]
        # All held-out sequences, the same model: both trainers measure the same before the first step.
        assert own["pretraining_loss_before"] == pytest.approx(same["pretraining_loss_before"], abs=1e-4)
        assert own["target_loss"] < 8
    assert rows["own"][1]["p_realised"] > 0.2
