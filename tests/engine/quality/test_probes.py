"""Probes against `transformers` and `torch`: every prediction with exactly the true tokens before it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.checkpoint import open_checkpoint
from engine.encoder.model import TextClassifier
from engine.kernels import TorchKernels
from engine.models import load_classifier, load_decoder, load_encoder
from engine.models.seq2seq import load_seq2seq
from engine.quality.probes import ROWS, DecoderProbe, TextProbe, TranslationProbe
from engine.quality.samples import Sample
from tests.engine import tiny, tiny_encoders, tiny_seq2seq

KERNELS = TorchKernels(torch.float32, torch.device("cpu"))


def numbers(count: int, seed: int) -> tuple[int, ...]:
    return tuple((7 * i * i + 3 * i + seed) % 100 + 5 for i in range(count))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_windows_of_a_decoder(family: str, tmp_path: Path) -> None:
    reference = tiny.write_checkpoint(family, tmp_path)
    with open_checkpoint(tmp_path) as checkpoint:
        probe = DecoderProbe(load_decoder(checkpoint, KERNELS, 200), 200)
    samples = [Sample(numbers(200, 1)), Sample(numbers(2, 2)), Sample(numbers(33, 3))]
    found = list(probe.score(samples))
    assert [len(scored.logits) for scored in found] == [ROWS, 199 - ROWS, 1, 32]
    expected = torch.cat([reference(list(sample.tokens))[:-1] for sample in samples])
    torch.testing.assert_close(torch.cat([scored.logits for scored in found]), expected, atol=1e-4, rtol=1e-4)
    targets = [token for sample in samples for token in sample.tokens[1:]]
    assert torch.cat([t for scored in found if (t := scored.targets) is not None]).tolist() == targets


def test_texts_of_a_classifier(tmp_path: Path) -> None:
    reference = tiny_encoders.write_encoder("bert", tmp_path, "AutoModelForSequenceClassification", num_labels=4)
    with open_checkpoint(tmp_path) as checkpoint:
        model = TextClassifier(load_encoder(checkpoint, KERNELS, 120), load_classifier(checkpoint, KERNELS, 4))
    samples = [Sample(numbers(3 + i % 50, i)) for i in range(70)]
    found = list(TextProbe(model).score(samples))
    assert len(found) > 2
    assert all(scored.targets is None for scored in found)
    with torch.no_grad():
        expected = torch.cat([reference(torch.tensor([sample.tokens])).logits for sample in samples])
    torch.testing.assert_close(torch.cat([scored.logits for scored in found]), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["marian", "t5", "marian-two-vocabularies"])
def test_sentences_of_a_translator(family: str, tmp_path: Path) -> None:
    reference = tiny_seq2seq.write_checkpoint(family, tmp_path)
    with open_checkpoint(tmp_path) as checkpoint:
        probe = TranslationProbe(load_seq2seq(checkpoint, KERNELS, 100, 80))
    samples = [
        Sample(tuple(t % 90 + 1 for t in numbers(2 + 5 * i % 60, i)), (0, *(t % 90 for t in numbers(1 + i % 40, i))))
        for i in range(40)
    ]
    found = list(probe.score(samples))
    assert max(len(scored.logits) for scored in found) == ROWS
    logits: list[torch.Tensor] = []
    targets: list[int] = []
    for sample in samples:
        target = torch.tensor([sample.target])
        with torch.no_grad():
            answer = reference(input_ids=torch.tensor([sample.tokens]), decoder_input_ids=target[:, :-1])
        logits.append(answer.logits[0])
        targets += sample.target[1:]
    torch.testing.assert_close(torch.cat([scored.logits for scored in found]), torch.cat(logits), atol=1e-4, rtol=1e-4)
    assert torch.cat([t for scored in found if (t := scored.targets) is not None]).tolist() == targets
