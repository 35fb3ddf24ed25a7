"""Classifiers of every family against `transformers`; embeddings against sentence-transformers' definitions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.checkpoint import open_checkpoint
from engine.encoder.config import EncoderConfig
from engine.encoder.load import load_encoder_engine
from engine.encoder.model import TextClassifier
from engine.errors import CheckpointError
from engine.kernels import Kernels, TorchKernels
from engine.kernels.native import NativeKernels
from engine.kernels.operators import load
from engine.models import load_classifier, load_encoder
from engine.models.packed import Text, pack
from engine.models.pooling import Pooling, pool
from tests.engine.tiny_encoders import ENCODERS, VOCABULARY, write_encoder

TEXTS = [Text([5 + (7 * i * i + 11 * k) % (VOCABULARY - 5) for i in range(n)]) for k, n in enumerate((4, 30, 1, 17))]
KERNELS: list[Kernels] = [TorchKernels(torch.float32, torch.device("cpu"))]
if load():
    KERNELS.append(NativeKernels(torch.float32, amx=False))


@pytest.mark.parametrize("kernels", KERNELS, ids=lambda k: k.name)
@pytest.mark.parametrize("family", ENCODERS)
def test_scores_are_the_references(family: str, kernels: Kernels, tmp_path: Path) -> None:
    reference = write_encoder(family, tmp_path, "AutoModelForSequenceClassification", num_labels=7)
    with open_checkpoint(tmp_path) as checkpoint:
        encoder = load_encoder(checkpoint, kernels, 100)
        model = TextClassifier(encoder, load_classifier(checkpoint, kernels, 7))
    scores = model(pack(TEXTS, encoder.arch))
    for text, ours in zip(TEXTS, scores, strict=True):
        with torch.no_grad():
            expected = reference(torch.tensor([text.tokens])).logits[0]
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_rows_are_those_of_the_whole(family: str, tmp_path: Path) -> None:
    write_encoder(family, tmp_path)
    for kernels in KERNELS:
        with open_checkpoint(tmp_path) as checkpoint:
            encoder = load_encoder(checkpoint, kernels, 100)
        batch = pack(TEXTS, encoder.arch)
        rows = torch.tensor([51, 3, 20])
        torch.testing.assert_close(
            encoder.forward(batch, rows=rows), encoder.forward(batch)[rows], atol=1e-5, rtol=1e-5
        )


def definition(hidden: Tensor, pooling: Pooling) -> Tensor:
    """As sentence-transformers' documentation has them; hidden (L, C)."""
    places = torch.arange(1.0, len(hidden) + 1)[:, None]
    vectors: dict[Pooling, Tensor] = {
        "cls": hidden[0],
        "last": hidden[-1],
        "max": hidden.max(0).values,
        "mean": hidden.sum(0) / len(hidden),
        "mean_sqrt_len": hidden.sum(0) / len(hidden) ** 0.5,
        "weighted_mean": (hidden * places).sum(0) / places.sum(),
    }
    return vectors[pooling]


@pytest.mark.parametrize("pooling", ["cls", "last", "max", "mean", "mean_sqrt_len", "weighted_mean"])
def test_pooling(pooling: Pooling) -> None:
    hidden = torch.randn(52, 24)
    starts = torch.tensor([0, 4, 34, 35, 52], dtype=torch.int32)
    ours = pool(hidden, starts, pooling)
    expected = torch.stack([definition(part, pooling) for part in hidden.split([4, 30, 1, 17])])
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)


MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def write_sentence_files(folder: Path, modules: list[dict[str, object]], **pooling: object) -> None:
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


@pytest.mark.parametrize(
    ("pooling", "normalize", "modes"),
    [
        (None, True, ["mean"]),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, False, ["mean"]),
        ({"pooling_mode_cls_token": True}, True, ["cls"]),
        ({"pooling_mode_cls_token": True}, False, ["cls"]),
        ({"pooling_mode_max_tokens": True, "pooling_mode_lasttoken": True}, True, ["max", "last"]),
        ({"pooling_mode": "weightedmean"}, True, ["weighted_mean"]),
    ],
)
def test_embeddings_are_made_as_the_folder_says(
    pooling: dict[str, object] | None, normalize: bool, modes: list[Pooling], tmp_path: Path
) -> None:
    from engine.encoder.request import EncodeRequest

    reference = write_encoder("bert", tmp_path)
    if pooling is not None:
        write_sentence_files(tmp_path, MODULES if normalize else MODULES[:2], **pooling)
    engine = load_encoder_engine(tmp_path, EncoderConfig(precision="fp32"), "embedding")
    for i, text in enumerate(TEXTS):
        engine.add(EncodeRequest(str(i), tuple(text.tokens)))
    outputs = dict(engine.step())
    for i, text in enumerate(TEXTS):
        with torch.no_grad():
            hidden = reference(torch.tensor([text.tokens])).last_hidden_state[0]
        expected = torch.cat([definition(hidden, mode) for mode in modes])
        if normalize:
            expected = expected / expected.norm()
        values = outputs[str(i)].values
        assert values is not None
        torch.testing.assert_close(torch.from_numpy(values), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "missing", "complaint"),
    [
        ("bert", "bert.pooler.dense.weight", "pooler"),
        ("roberta", "classifier.dense.weight", "classifier.dense"),
        ("distilbert", "pre_classifier.weight", "pre_classifier"),
        ("modernbert", "head.norm.weight", "head.norm"),
    ],
)
def test_a_head_without_a_part_is_refused(family: str, missing: str, complaint: str, tmp_path: Path) -> None:
    write_encoder(family, tmp_path, "AutoModelForSequenceClassification")
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors[missing]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=complaint):
        load_encoder_engine(tmp_path, EncoderConfig(precision="fp32"), "text-classification")


def test_a_head_of_another_width_is_refused(tmp_path: Path) -> None:
    write_encoder("bert", tmp_path, "AutoModelForSequenceClassification")
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({**tensors, "classifier.weight": torch.zeros(2, 40)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="classifier: shape"):
        load_encoder_engine(tmp_path, EncoderConfig(precision="fp32"), "text-classification")
