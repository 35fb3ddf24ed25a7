"""A recipe decides the bits, survives being stored, and says what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import CheckpointError, ConfigError
from engine.quantization.recipe import FILE, TENSORS, Recipe, load_recipe, quantize, save_recipe
from engine.quantization.weight import SCHEMES, QuantizedWeight, Scheme, check
from tests.engine.quantization.heavy import heavy_weight

WEIGHT = heavy_weight(48, 64)


def full(precision: Scheme = "int8-static") -> Recipe:
    return Recipe(
        precision,
        64,
        "nearest",
        kept={"head": "bf16", "layers.0.down": "int8-dynamic"},
        multipliers={"layers.0.qkv": torch.rand(64) + 0.5, "layers.0.down": torch.rand(64) + 0.5},
        inputs={"layers.0.qkv": torch.rand(3, 64).half()},
        smoothing={"layers.0.qkv": 0.5},
        observers={"layers.0.qkv": "mse"},
    )


@pytest.mark.parametrize("precision", SCHEMES)
def test_a_stored_recipe_gives_the_same_bits(precision: Scheme, tmp_path: Path) -> None:
    recipe = full(precision)
    save_recipe(recipe, tmp_path)
    again = load_recipe(tmp_path)
    assert again.digest() == recipe.digest()
    for name in ("layers.0.qkv", "layers.0.down"):
        first, second = (quantize(name, WEIGHT, r) for r in (recipe, again))
        assert isinstance(first, QuantizedWeight)
        assert isinstance(second, QuantizedWeight)
        check(name, first)
        assert first.scheme == second.scheme == ("int8-dynamic" if name == "layers.0.down" else precision)
        assert all(torch.equal(part, second.parts()[key]) for key, part in first.parts().items())
    assert quantize("head", WEIGHT, again) is WEIGHT


def test_without_tensors_there_is_one_file(tmp_path: Path) -> None:
    save_recipe(full(), tmp_path)
    plain = Recipe("int4-weight")
    save_recipe(plain, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert load_recipe(tmp_path).digest() == plain.digest()


def test_the_digest_changes_with_everything() -> None:
    recipe = full()
    other = torch.rand(64) + 0.5
    changed = [
        replace(recipe, precision="int8-dynamic"),
        replace(recipe, group=32),
        replace(recipe, rounding="fitted"),
        replace(recipe, kept={"head": "bf16"}),
        replace(recipe, kept={**recipe.kept, "head": "int8-weight"}),
        replace(recipe, multipliers={**recipe.multipliers, "layers.0.down": other}),
        replace(recipe, multipliers={"layers.0.qkv": recipe.multipliers["layers.0.qkv"]}),
        replace(recipe, inputs={"layers.0.qkv": other[None].half()}),
        replace(recipe, inputs={"layers.0.up": recipe.inputs["layers.0.qkv"]}),
        replace(recipe, smoothing={}),
        replace(recipe, observers={"layers.0.qkv": "min-max"}),
    ]
    digests = [one.digest() for one in (recipe, *changed)]
    assert len(set(digests)) == len(digests)
    order = replace(recipe, kept=dict(reversed(list(recipe.kept.items()))))
    assert order.digest() == recipe.digest()


def test_a_width_without_groups_stays_as_it_is() -> None:
    odd = heavy_weight(4, 36)
    assert quantize("x", odd, Recipe("int4-weight")) is odd


def test_recipes_of_another_model_are_refused() -> None:
    with pytest.raises(ConfigError, match="no activation scale for layers"):
        quantize("layers.9.qkv", WEIGHT, full())
    with pytest.raises(ConfigError, match="made for another model"):
        quantize("layers.0.qkv", heavy_weight(4, 32), full())
    with pytest.raises(CheckpointError, match="not finite"):
        quantize("x", torch.full((4, 32), torch.nan), Recipe("fp8"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"precision": "int3"},
        {"group": 33},
        {"group": True},
        {"rounding": "stochastic"},
        {"kept": {"head": "fp64"}},
        {"observers": {"head": "guess"}},
        {"multipliers": {"head": torch.tensor([1.0, 0.0])}},
        {"multipliers": {"head": torch.tensor([1.0, torch.inf])}},
        {"inputs": {"head": torch.tensor([[1.0]])}},
        {"inputs": {"head": torch.tensor([[-1.0, 1.0]]).half()}},
        {"inputs": {"head": torch.zeros(2, 4).half()}},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"precision": "int8-dynamic", **wrong}
    with pytest.raises(ConfigError):
        Recipe(**settings)


def rewritten(folder: Path, **changes: Any) -> None:
    about = json.loads((folder / FILE).read_text()) | changes
    (folder / FILE).write_text(json.dumps({key: value for key, value in about.items() if value is not None}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / FILE).unlink(), "cannot be read"),
        (lambda f: (f / FILE).write_text("{"), "JSON"),
        (lambda f: (f / FILE).write_text("[]"), "no JSON object"),
        (lambda f: rewritten(f, format=9), "format"),
        (lambda f: rewritten(f, revision=0), "revision"),
        (lambda f: rewritten(f, precision=None), "no precision"),
        (lambda f: rewritten(f, precision="int5"), "int5"),
        (lambda f: rewritten(f, kept=["head"]), "kept"),
        (lambda f: rewritten(f, kept={"head": 3}), "kept.head"),
        (lambda f: rewritten(f, kept={"head": ["bf16"]}), "kept.head"),
        (lambda f: rewritten(f, smoothing={"head": "much"}), "smoothing.head"),
        (lambda f: rewritten(f, extra=1), "extra"),
        (lambda f: (f / TENSORS).unlink(), "not the file"),
        (lambda f: (f / TENSORS).write_bytes(b"no"), "safetensors"),
        (lambda f: save_file({"multipliers.head": torch.ones(3)}, f / TENSORS), "not the file"),
        (lambda f: save_file({"multipliers.head": -torch.ones(3)}, f / TENSORS), "positive"),
        (lambda f: save_file({"weights.head": torch.ones(3)}, f / TENSORS), "no part of a recipe"),
    ],
)
def test_damaged_folders_are_refused(damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    save_recipe(full(), tmp_path)
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load_recipe(tmp_path)
