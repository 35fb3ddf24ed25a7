"""What stays higher is decided by losses that were measured, within a budget."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.progress import Progress as Bar

from deployments.measuring import recipes
from deployments.measuring.recipes import Wish, make_recipe, named
from engine.errors import ConfigError
from engine.quality.samples import Sample
from engine.quantization.recipe import HIGHER
from tests.engine import tiny

SAMPLES = [Sample(tuple((7 * i * i + 3 * i + seed) % 131 for i in range(60))) for seed in range(6)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny.write_checkpoint("llama", folder)
    return folder


def kept(base: Path, monkeypatch: pytest.MonkeyPatch, budget: float, wish: Wish) -> dict[str, str]:
    monkeypatch.setitem(recipes.BUDGET, "text-generation", budget)
    return dict(make_recipe(base, "text-generation", wish, SAMPLES, Bar(disable=True)).kept)


def test_the_smaller_the_budget_the_more_stays_higher(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wish = Wish("int4-weight", 16)
    none, some, most = (kept(base, monkeypatch, budget, wish) for budget in (1e9, 0.12, 0.0))
    assert none == {}
    assert 0 < len(some) < len(most)
    assert set(most.values()) == {"int8-weight"}


def test_all_may_be_quantized_whatever_it_costs(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept(base, monkeypatch, 0.0, Wish("int4-weight", 16, "none")) == {}


def test_names_may_be_given(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = kept(base, monkeypatch, 0.0, Wish("int8-dynamic", keep=("layers.?.down", "head")))
    assert found == dict.fromkeys(("head", "layers.0.down", "layers.1.down", "layers.2.down"), HIGHER["int8-dynamic"])
    with pytest.raises(ConfigError, match="no such product; it has head"):
        named(("tail",), {"head": 1})


def test_the_same_data_make_the_same_recipe(base: Path) -> None:
    wish = Wish("int8-static")
    digests = {make_recipe(base, "text-generation", wish, SAMPLES, Bar(disable=True)).digest() for _ in range(2)}
    assert len(digests) == 1
    other = make_recipe(base, "text-generation", wish, SAMPLES[:3], Bar(disable=True))
    assert other.digest() not in digests
