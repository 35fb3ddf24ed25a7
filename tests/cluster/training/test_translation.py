from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sacrebleu
import torch
from safetensors.torch import load_file

from cluster.training.metrics import read_metrics
from cluster.training.recipe import Cadence, Recipe, RunFolder
from cluster.training.teachers import Teacher
from cluster.training.translation import MarianSize, TranslationTask
from cluster.training.vocabulary import train_pieces
from cluster.training.worker import Job, train
from cluster.training.world import World
from engine.errors import ConfigError

RECIPE = Recipe(
    epochs=12,
    batch=256,
    micro_batch=128,
    unit="tokens",
    learning_rate=1e-2,
    warmup_steps=10,
    schedule="inverse-sqrt",
    average=0.9,
)
SIZE = MarianSize(
    vocabulary=48, width=32, feed_forward=64, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0, longest=32
)


def task_of(pairs: Path) -> TranslationTask:
    return TranslationTask(
        RECIPE,
        pairs / "train.en",
        pairs / "train.de",
        valid=(pairs / "valid.en", pairs / "valid.de"),
        test=(pairs / "test.en", pairs / "test.de"),
        size=SIZE,
        translate_every=0,
    )


def run(task: TranslationTask, folder: Path) -> dict[str, float]:
    task.check()
    return train(Job(task, RunFolder(folder), Cadence(log_steps=1)), World())


@pytest.fixture(scope="session")
def translator(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder: a translator trained from scratch."""
    folder = tmp_path_factory.mktemp("translator")
    run(task_of(pairs), folder)
    return folder


def test_a_translator_from_scratch_loads_in_transformers(translator: Path, pairs: Path) -> None:
    from transformers import MarianMTModel, MarianTokenizer

    model = MarianMTModel.from_pretrained(translator / "model", dtype=torch.float32)
    tokenizer = MarianTokenizer.from_pretrained(translator / "model")
    assert (tokenizer.source_lang, tokenizer.target_lang) == ("en", "de")
    valid = [line["valid_loss"] for line in read_metrics(translator / "metrics.jsonl") if "valid_loss" in line]
    assert valid[-1] < 0.7 * valid[0]
    sources, targets = ((pairs / f"valid.{side}").read_text().splitlines() for side in ("en", "de"))
    total, count = 0.0, 0
    for source, target in zip(sources, targets, strict=True):
        inputs = tokenizer(source, text_target=target, return_tensors="pt")
        with torch.no_grad():
            total += float(model(**inputs).loss) * inputs["labels"].numel()
        count += inputs["labels"].numel()
    assert total / count == pytest.approx(valid[-1], rel=0.01)  # their own loss, of weights that are stored in bf16
    quality = json.loads((translator / "training.json").read_text())["quality"]
    sources, references = ((pairs / f"test.{side}").read_text().splitlines() for side in ("en", "de"))
    rows = [model.generate(**tokenizer(source, return_tensors="pt"))[0] for source in sources]
    translations = [tokenizer.decode(row, skip_special_tokens=True) for row in rows]
    assert quality["chrf"] == pytest.approx(sacrebleu.corpus_chrf(translations, [references]).score, abs=0.01)
    assert quality["bleu"] == pytest.approx(sacrebleu.corpus_bleu(translations, [references]).score, abs=0.01)
    names = {path.name for path in (translator / "model").iterdir()}
    assert names == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "source.spm",
        "target.spm",
        "tokenizer_config.json",
        "vocab.json",
    }


def test_one_embedding_is_stored_and_its_padding_row_is_zero(translator: Path) -> None:
    tensors = load_file(translator / "model" / "model.safetensors")
    config = json.loads((translator / "model" / "config.json").read_text())
    shaped = [name for name, tensor in tensors.items() if tensor.shape == (SIZE.vocabulary, SIZE.width)]
    assert len(shaped) == 1
    assert config["pad_token_id"] == config["decoder_start_token_id"] == SIZE.vocabulary - 1
    assert not tensors[shaped[0]][-1].any()
    assert all(tensors[shaped[0]][:-1].any(dim=1))


def test_going_on_with_a_model_starts_from_its_quality(translator: Path, pairs: Path, tmp_path: Path) -> None:
    further = replace(
        task_of(pairs), base=translator / "model", recipe=replace(RECIPE, epochs=1, learning_rate=1e-4, average=0.0)
    )
    run(further, tmp_path)
    first = read_metrics(translator / "metrics.jsonl")
    second = read_metrics(tmp_path / "metrics.jsonl")
    valid = [[line["valid_loss"] for line in lines if "valid_loss" in line] for lines in (first, second)]
    assert valid[1][-1] < 0.8 * valid[0][0]
    assert valid[1][-1] == pytest.approx(valid[0][-1], abs=0.3)


def test_going_on_with_another_family(translator: Path, pairs: Path, tmp_path: Path) -> None:
    """A T5 of random weights, with the translator's tokenizer."""
    from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

    from cluster.training.folders import copy_tokenizer

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=SIZE.vocabulary,
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        pad_token_id=SIZE.vocabulary - 1,
        eos_token_id=0,
        decoder_start_token_id=SIZE.vocabulary - 1,
    )
    T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    copy_tokenizer(translator / "model", tmp_path / "t5")
    run(replace(task_of(pairs), base=tmp_path / "t5", recipe=replace(RECIPE, epochs=3)), tmp_path / "run")
    valid = [line["valid_loss"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "valid_loss" in line]
    assert valid[-1] < valid[0]
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run" / "model").config.model_type == "t5"


def test_a_student_learns_its_teachers_translations(
    translator: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sequence-level distillation. Some of the teacher's outputs are there from a killed run, and are kept."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    teacher = Teacher(translator / "model", beams=2)
    kept = tmp_path / "prepared" / "teacher-translations.jsonl"
    kept.parent.mkdir()
    kept.write_text("".join(json.dumps([index, "Baum Baum"]) + "\n" for index in range(20)) + '[20, "cut sho')
    student = replace(
        task_of(pairs), size=replace(SIZE, vocabulary=40), teacher=teacher, recipe=replace(RECIPE, epochs=1)
    )
    run(student, tmp_path)
    found = dict(json.loads(line) for line in kept.read_text().splitlines())
    assert sorted(found) == list(range(150))
    assert found[3] == "Baum Baum"
    model = AutoModelForSeq2SeqLM.from_pretrained(translator / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(translator / "model")
    sources = (pairs / "train.en").read_text().splitlines()
    for index in (20, 75, 149):
        rows = model.generate(**tokenizer(sources[index], return_tensors="pt"), num_beams=2, max_length=SIZE.longest)
        assert found[index] == tokenizer.decode(rows[0], skip_special_tokens=True)
    monkeypatch.setattr("cluster.training.teachers.translate_all", None)  # everything is there: nothing is translated
    run(student, tmp_path)


def test_no_vocabulary_of_more_pieces_than_the_text_has() -> None:
    with pytest.raises(ConfigError, match="Choose a smaller --vocabulary"):
        train_pieces(["a b", "b a"], 500, seed=1)


def test_pairs_longer_than_asked_are_left_out(pairs: Path, tmp_path: Path) -> None:
    task = replace(task_of(pairs), longest_example=5)
    run_folder = RunFolder(tmp_path)
    task.prepare(run_folder, torch.device("cpu"))
    prepared = task.setup(run_folder)
    assert 0 < len(prepared.lengths) < 150
    assert max(prepared.lengths) <= 5
    with pytest.raises(ConfigError, match="more than 1 tokens"):
        replace(task, longest_example=1).setup(run_folder)
