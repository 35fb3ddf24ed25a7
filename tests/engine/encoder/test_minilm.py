"""MiniLM itself against `transformers`: the same embeddings, alone and packed, and bf16 near them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.checkpoint import open_checkpoint
from engine.config import Precision
from engine.encoder.config import EncoderConfig
from engine.encoder.describe import describe
from engine.encoder.engine import EncoderEngine
from engine.encoder.load import load_encoder_engine
from engine.encoder.request import EncodeRequest
from tests.engine.minilm import minilm

pytestmark = pytest.mark.model

TEXTS = [
    "I am still waiting on my card?",
    "What can I do if my card still hasn't arrived after 2 weeks?",
    "ok",
    "Ich habe meine PIN vergessen 🙈",
    "A much longer text about nothing in particular. " * 22,
    "",
]


@pytest.fixture(scope="module")
def folder() -> Path:
    return minilm()


@pytest.fixture(scope="module")
def tokenized(folder: Path) -> list[list[int]]:
    with open_checkpoint(folder) as checkpoint:
        tokenizer = checkpoint.tokenizer()
    return [tokenizer.encode(text) for text in TEXTS]


@pytest.fixture(scope="module")
def expected(folder: Path, tokenized: list[list[int]]) -> Tensor:
    """Mean over the tokens, length 1: what the model's card describes."""
    from transformers import AutoModel

    model: Any = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        means = [model(torch.tensor([tokens])).last_hidden_state[0].mean(0) for tokens in tokenized]
    return torch.stack([mean / mean.norm() for mean in means])


def embed(engine: EncoderEngine, texts: list[list[int]]) -> Tensor:
    for i, tokens in enumerate(texts):
        request = EncodeRequest(str(i), tuple(tokens))
        engine.prepare(request)
        engine.add(request)
    found: dict[str, Tensor] = {}
    while not engine.idle:
        for name, encoded in engine.step():
            assert encoded.values is not None
            found[name] = torch.from_numpy(encoded.values)
    return torch.stack([found[str(i)] for i in range(len(texts))])


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-2)])
def test_embeddings_are_the_references(
    folder: Path, tokenized: list[list[int]], expected: Tensor, precision: Precision, tolerance: float
) -> None:
    engine = load_encoder_engine(folder, EncoderConfig(precision=precision), "embedding")
    together = embed(engine, tokenized)
    torch.testing.assert_close(together, expected, atol=tolerance, rtol=0)
    assert torch.nn.functional.cosine_similarity(together, expected).min() > 0.999
    alone = torch.cat([embed(engine, [tokens]) for tokens in tokenized])
    if engine.kernels == "native":
        assert torch.equal(together, alone)


def test_the_model_says_what_it_is(folder: Path) -> None:
    with open_checkpoint(folder) as checkpoint:
        info = describe(checkpoint, "embedding")
    assert (info.dimension, info.max_tokens, info.pooling, info.normalize) == (384, 256, ("mean",), True)
