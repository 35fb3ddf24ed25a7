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
from engine.checkpoint import open_checkpoint
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
    with pytest.raises(ConfigError, match="no variant int8; it has bf16, "):
        choose(settings, "intents:int8")
    with pytest.raises(ConfigError, match="--data"):
        CliRunner().invoke(app, ["evaluate", "--model", "intents"], catch_exceptions=False)


@pytest.mark.model
def test_perplexity_is_the_references(demo_models: dict[str, Path], tmp_path: Path) -> None:
    """Against transformers' loss on the same tokens of the demo's generator, in fp32."""
    import torch
    from transformers import AutoModelForCausalLM

    path = demo_models["smollm2"]
    data, exact = tmp_path / "a.txt", tmp_path / "exact.yaml"
    data.write_text("The river runs from the mountains to the sea.\n" * 3 + "\nIt never runs back.\n")
    exact.write_text(f"models: [{{name: m, source: {path}, variants: [{{precision: fp32}}]}}]")
    told = evaluate(str(exact), "--data", str(data))
    with open_checkpoint(path) as checkpoint:
        tokens = checkpoint.tokenizer().encode(data.read_text().removesuffix("\n"), add_special_tokens=False)
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    given = torch.tensor([tokens])
    with torch.no_grad():
        loss = theirs(given, labels=given).loss
    assert told["tokens"] == len(tokens) - 1
    assert told["perplexity"] == pytest.approx(float(loss.exp()), rel=1e-3)
