"""With quantized weights too a request's logits do not depend, in a single bit, on who shares the batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.checkpoint import open_checkpoint
from engine.kernels import select_kernels
from engine.models import load_decoder
from engine.models.transform import Transform
from engine.quantization.recipe import Recipe, quantize
from engine.quantization.weight import Scheme, Weight
from engine.request import Request, SamplingParams
from tests.engine.test_engine import LIMITS, make_engine, run, tokens_of
from tests.engine.tiny import VOCABULARY, write_checkpoint

SAMPLING = SamplingParams(max_tokens=6, temperature=0, logprobs=8, ignore_eos=True)
LENGTHS = (1, 5, 23, 2, 40, 9)


def quantizing(scheme: Scheme) -> Transform:
    def transform(name: str, weight: Weight) -> Weight:
        assert isinstance(weight, Tensor)
        multiplier = {name: torch.full((weight.shape[1],), 40.0)} if scheme == "int8-static" else {}
        return quantize(name, weight, Recipe(scheme, 8, multipliers=multiplier))

    return transform


@pytest.mark.parametrize("scheme", ["int8-dynamic", "int8-static", "int8-weight", "int4-weight"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_neighbours_change_nothing(scheme: Scheme, dtype: torch.dtype, tmp_path: Path) -> None:
    kernels = select_kernels("cpu", dtype)
    if kernels.name != "native":
        pytest.skip("torch's own kernels promise this for int8 only")
    write_checkpoint("llama", tmp_path)
    with open_checkpoint(tmp_path) as checkpoint:
        decoder = load_decoder(checkpoint, kernels, LIMITS.max_model_len, transform=quantizing(scheme))
    requests = [
        Request(f"{i}", tuple((7 * i + 3 * k * k) % VOCABULARY for k in range(length)), SAMPLING, arrival_s=0.0)
        for i, length in enumerate(LENGTHS)
    ]
    together = run(make_engine(decoder, blocks=120, max_batch_tokens=64), requests)
    for request in requests:
        alone = run(make_engine(decoder, blocks=120, max_batch_tokens=7), [request])[request.id]
        assert tokens_of(together[request.id]) == tokens_of(alone)
        mine = [found for delta in together[request.id] for found in delta.logprobs or ()]
        assert len(mine) == SAMPLING.max_tokens
        assert mine == [found for delta in alone for found in delta.logprobs or ()]
