"""From running a model on data to a prepared folder whose logits are close to the model's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.checkpoint import open_checkpoint
from engine.kernels import TorchKernels
from engine.models import load_decoder
from engine.quantization.calibrate import Calibration, Options
from engine.quantization.observing import Observing
from engine.quantization.prepare import load_products, prepare
from engine.quantization.recipe import HIGHER, load_recipe, quantize, save_recipe
from engine.quantization.weight import SCHEMES, QuantizedWeight, Scheme, Weight
from tests.engine import tiny
from tests.engine.models.test_families import decode

KERNELS = TorchKernels(torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_decoder(scheme: Scheme, tmp_path: Path) -> None:
    tiny.write_checkpoint("llama", tmp_path / "base")
    observing = Observing(KERNELS)
    with open_checkpoint(tmp_path / "base") as base:
        exact = decode(load_decoder(base, observing.kernels, 200, transform=observing.transform), [90])
        calibration = Calibration(Options(scheme), observing.products)
        load_products(base, torch.float32, calibration.transform)
        assert calibration.choices.keys() == observing.products.keys()
        kept = sorted(calibration.choices, key=lambda name: calibration.choices[name].error)[-3:]
        save_recipe(calibration.recipe(dict.fromkeys(kept, HIGHER[scheme])), tmp_path / "recipe")
        recipe = load_recipe(tmp_path / "recipe")
        schemes: dict[str, str | None] = {}

        def quantized(name: str, weight: Weight) -> Weight:
            assert isinstance(weight, torch.Tensor)
            found = quantize(name, weight, recipe)
            schemes[name] = found.scheme if isinstance(found, QuantizedWeight) else "bf16"
            return found

        prepare(base, scheme, quantized, tmp_path / "made")
    assert schemes == {name: HIGHER[scheme] if name in kept else scheme for name in calibration.choices}
    with open_checkpoint(tmp_path / "made") as made:
        found_logits = decode(load_decoder(made, KERNELS, 200), [90])
    away = float((found_logits - exact).square().mean() / exact.square().mean())
    assert 0 < away < (0.1 if scheme in ("int4-weight", "fp8") else 0.01)
