"""Quality as `stageline evaluate` tells it, of the demo's models."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.cli.evaluate import choose
from deployments.settings import DEMO_CONFIG, load_settings
from engine.errors import ConfigError

SENTENCES = ["A man plays the guitar.", "A dog runs through the snow.", "Two women sit on a bench."]


def evaluate(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["evaluate", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return told


@pytest.mark.model
def test_accuracy_counts_the_right_labels(demo_models: dict[str, Path], tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    rows = [
        "My card has not arrived yet.,card_arrival",
        "How do I change my PIN?,change_pin",
        "Where is my card?,atm_support",
    ]
    data.write_text("\n".join(["text,category", *rows]) + "\n")
    told = evaluate("--model", "intents", "--data", str(data))
    assert told["texts"] == 3
    assert told["accuracy"] == pytest.approx(2 / 3)
    assert (told["model"], told["variant"]) == ("intents", "bf16")


@pytest.mark.model
@pytest.mark.parametrize("beams", [1, 4])
def test_a_translators_own_translations_have_a_bleu_of_100(
    demo_models: dict[str, Path], tmp_path: Path, beams: int
) -> None:
    from transformers import MarianMTModel, MarianTokenizer

    folder = demo_models["en-de"]
    model, tokenizer = MarianMTModel.from_pretrained(folder).float().eval(), MarianTokenizer.from_pretrained(folder)
    out = model.generate(**tokenizer(SENTENCES, return_tensors="pt", padding=True), num_beams=beams, do_sample=False)
    source, reference = tmp_path / "a.en", tmp_path / "a.de"
    source.write_text("\n".join(SENTENCES) + "\n")
    reference.write_text("\n".join(tokenizer.batch_decode(out, skip_special_tokens=True)) + "\n")
    exact = tmp_path / "exact.yaml"
    exact.write_text(f"models: [{{name: m, task: translation, source: {folder}, variants: [{{precision: fp32}}]}}]")
    files = [str(exact), "--data", str(source), "--reference", str(reference)]
    told = evaluate(*files, "--beams", str(beams))
    assert told["bleu"] == pytest.approx(100)
    assert told["chrf"] == pytest.approx(100)
    reference.write_text("\n".join(["Nein."] * 3) + "\n")
    assert evaluate(*files)["bleu"] < 5


@pytest.fixture
def data() -> Path:
    folder = os.environ.get("STAGELINE_DATA")
    if not folder:
        pytest.skip("STAGELINE_DATA does not name a folder with banking77 and multi30k")
    return Path(folder)


@pytest.mark.model
def test_the_demos_classifier_is_good(demo_models: dict[str, Path], data: Path) -> None:
    told = evaluate("--model", "intents", "--data", str(data / "banking77" / "test.csv"))
    assert told["texts"] == 3080
    assert told["accuracy"] >= 0.92


@pytest.mark.model
def test_the_demos_translator_is_good(demo_models: dict[str, Path], data: Path) -> None:
    flickr = data / "multi30k" / "test_2016_flickr"
    told = evaluate("--model", "en-de", "--data", f"{flickr}.en", "--reference", f"{flickr}.de")
    assert told["sentences"] == 1000
    assert told["bleu"] >= 35


def test_what_to_measure_must_be_clear(tmp_path: Path) -> None:
    settings = load_settings(DEMO_CONFIG)
    assert choose(settings, "intents:bf16")[1].name == "bf16"
    with pytest.raises(ConfigError, match="smollm2, intents, minilm, en-de"):
        choose(settings, "")
    with pytest.raises(ConfigError, match="no variant int8; it has bf16"):
        choose(settings, "intents:int8")
    with pytest.raises(ConfigError, match="--data"):
        CliRunner().invoke(app, ["evaluate", "--model", "intents"], catch_exceptions=False)
