from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from typer.testing import CliRunner

from cluster.node import end_processes
from cluster.training.metrics import read_metrics
from deployments.cli import app, main
from deployments.cli.training import begun_with

run = CliRunner().invoke
EPOCHS = 20  # enough that a training is never over before it is killed
CSV = "text,label\n" + "".join(f"{word} {other},{word}\n" for word in ("cat", "dog") for other in "abcdefgh" * 8)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A BERT folder of random weights, small and with dropout."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path / "base"
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", *"abcdefgh"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(folder)
    (tmp_path / "train.csv").write_text(CSV)
    return folder


def arguments(folder: Path, out: str, *more: str) -> list[str]:
    names = {"--base": "base", "--train": "train.csv", "--test": "train.csv", "--out": out}
    paths = [word for option, name in names.items() for word in (option, str(folder / name))]
    recipe = [
        "--epochs",
        str(EPOCHS),
        "--batch",
        "16",
        "--micro-batch",
        "8",
        "--warmup-steps",
        "4",
        "--log-steps",
        "1",
        "--checkpoint-minutes",
        "0",
    ]
    return ["finetune", "classifier", *paths, *recipe, *more]


def failing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]) -> tuple[int, str]:
    """Exit status and standard error of `stageline WORDS`."""
    monkeypatch.setattr(sys, "argv", ["stageline", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


def test_each_kind_of_training_tells_its_options() -> None:
    for command in ("classifier", "translator", "generator"):
        result = run(app, ["finetune", command, "--help"])
        assert result.exit_code == 0
        assert "--learning-rate" in result.output


def test_bad_data_ends_before_ray_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], base: Path, tmp_path: Path
) -> None:
    (tmp_path / "train.csv").write_text("text,label\ncat,a\ncat,\n")
    status, told = failing(monkeypatch, capsys, arguments(tmp_path, "out"))
    assert status == 2
    assert "train.csv, line 3: the label is empty." in told
    assert not (tmp_path / "out").exists()


def test_missing_packages_are_told_with_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], base: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr("deployments.cli.training._NEEDED", ("transformers", "no_such_package"))
    status, told = failing(monkeypatch, capsys, arguments(tmp_path, "out"))
    assert status == 2
    assert "no_such_package" in told
    assert "pip install 'stageline[train]'" in told


@pytest.mark.parametrize(
    "wrong", [["--train-layers", "some"], ["--learning-rate", "0"], ["--train-layers", "-1"], ["--batch", "4"]]
)
def test_impossible_options_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], base: Path, tmp_path: Path, wrong: list[str]
) -> None:
    status, told = failing(monkeypatch, capsys, arguments(tmp_path, "out", *wrong))
    assert status == 2
    assert "Traceback" not in told


def test_half_a_pair_of_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a\n")
    words = ["translator", "--source", str(tmp_path / "x"), "--target", str(tmp_path / "x"), "--out", str(tmp_path)]
    result = run(app, ["finetune", *words, "--valid-source", str(tmp_path / "x")])
    assert result.exit_code == 2
    assert "both files" in result.output
    result = run(app, ["finetune", *words, "--languages", "german"])
    assert result.exit_code == 2
    assert "en-de" in result.output


def test_two_trainings_do_not_share_a_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], base: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"):
        status, told = failing(monkeypatch, capsys, arguments(tmp_path, "out"))
    assert status == 2
    assert "Another training is writing" in told


def test_the_card_has_no_paths_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["stageline", "finetune", "classifier", "--train", "/home/somebody/train.csv", "--data-note", "two words"]
    monkeypatch.setattr(sys, "argv", words)
    assert begun_with() == "stageline finetune classifier --train train.csv --data-note 'two words'"


def spawn(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", *words], stderr=subprocess.PIPE, env=dict(os.environ)
    )


def steps(folder: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in read_metrics(folder / "metrics.jsonl") if "loss" in line]


@pytest.mark.ray
def test_a_killed_training_resumes_with_the_same_command_and_curve(base: Path, tmp_path: Path) -> None:
    """`kill -9` in the midst of training; the curve is that of an uninterrupted one."""
    from cluster.training.classification import ClassificationTask
    from cluster.training.precision import fastest_precision
    from cluster.training.recipe import Cadence, Recipe, RunFolder
    from cluster.training.worker import Job, train
    from cluster.training.world import World

    out = tmp_path / "out"
    first = spawn(arguments(tmp_path, "out"))
    tree: list[psutil.Process] = []
    deadline = time.monotonic() + 300
    while len(steps(out)) < 10:
        assert first.poll() is None, first.stderr and first.stderr.read().decode()
        assert time.monotonic() < deadline
        tree = psutil.Process(first.pid).children(recursive=True) or tree
        time.sleep(0.01)
    first.kill()
    for process in tree:  # at once too: Ray's worker would go on for a while by itself
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    first.communicate()
    end_processes(set(tree))
    done = len(steps(out))
    assert not (out / "model").exists(), "it was too fast to be killed"

    second = spawn(arguments(tmp_path, "out"))
    _, told = second.communicate(timeout=300)
    assert second.returncode == 0, told.decode()
    assert "Done" in told.decode()

    recipe = Recipe(
        epochs=EPOCHS,
        batch=16,
        micro_batch=8,
        unit="examples",
        learning_rate=3e-4,
        warmup_steps=4,
        schedule="cosine",
        betas=(0.9, 0.999),
        average=0.99,
        precision=fastest_precision(),
    )
    data = tmp_path / "train.csv"
    whole = ClassificationTask(recipe, base, data, test=data, smoothing=0.1)
    train(Job(whole, RunFolder(tmp_path / "whole"), Cadence(log_steps=1)), World())
    got, wanted = steps(out), steps(tmp_path / "whole")
    assert len(wanted) > done
    assert [step for step, _ in got] == [step for step, _ in wanted]
    assert [loss for _, loss in got] == pytest.approx([loss for _, loss in wanted], rel=1e-4)
    summary = json.loads((out / "training.json").read_text())
    assert summary["command"].startswith("stageline finetune classifier --base base")
    assert (out / "loss.png").exists()
    assert not list(out.glob("ray-train*"))
