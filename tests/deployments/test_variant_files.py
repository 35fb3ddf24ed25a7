"""From a configuration to the variants' files: the gate comes first, and only what passes is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.quality import Quality, write_quality
from deployments.settings import DEMO_CONFIG, load_settings
from deployments.sources.prepared import write_prepared
from deployments.sources.weights import weights_digest
from deployments.variant_files import Judged, Key, files_of, judge
from engine.checkpoint.prepared import FILE as PREPARED
from engine.config import Precision
from engine.errors import CheckpointError, ConfigError
from engine.quantization.recipe import Recipe, save_recipe
from tests.deployments.measured import quality
from tests.deployments.tiny_served import own_cache, write_config
from tests.engine import tiny

RECIPE = Recipe("int8-weight", group=16)
INT8: Key = ("tiny", "int8-weight")
NAMED = "{precision: int8-weight, prepared: made}"


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own_cache(tmp_path, monkeypatch)
    tiny.write_checkpoint("llama", tmp_path / "base")
    return tmp_path / "base"


def measured(base: Path, precision: Precision = "int8-weight", perplexity: float = 20.2) -> Quality:
    recipe = None if precision == "bf16" else RECIPE.digest()
    scores = {"perplexity": perplexity}
    return quality(scores=scores, precision=precision, base=weights_digest(base), recipe=recipe)


def judged(base: Path, *variants: str, allow_unmeasured: bool = False) -> dict[Key, Judged]:
    settings = load_settings(write_config("text-generation", base.parent, base, *variants))
    return judge(settings, {"tiny": base}, allow_unmeasured=allow_unmeasured)


def test_a_recipe_is_applied_once_and_served(base: Path, tmp_path: Path) -> None:
    save_recipe(RECIPE, tmp_path / "made")
    write_quality(measured(base), tmp_path / "made")
    found = judged(base, "{precision: bf16}", NAMED)
    assert not (tmp_path / "cache" / "prepared").exists(), "judging makes nothing"
    assert found[INT8].verdict.quality == measured(base)
    told: list[str] = []
    files = files_of(found, told.append)
    assert files["tiny", "bf16"] == base
    assert (files[INT8] / PREPARED).exists()
    assert files[INT8].is_relative_to(tmp_path / "cache")
    assert told[-1] == "Quantizing tiny:int8-weight, 13 products done ..."
    told.clear()
    assert files_of(found, told.append) == files
    assert told == []


def test_a_folder_with_weights_is_served_as_it_lies(base: Path, tmp_path: Path) -> None:
    write_prepared(base, weights_digest(base), RECIPE, tmp_path / "made")
    write_quality(measured(base), tmp_path / "made")
    assert files_of(judged(base, NAMED)) == {INT8: tmp_path / "made"}
    assert not (tmp_path / "cache" / "prepared").exists()


def test_what_loses_too_much_is_not_even_made(base: Path, tmp_path: Path) -> None:
    save_recipe(RECIPE, tmp_path / "made")
    write_quality(measured(base, perplexity=25.0), tmp_path / "made")
    with pytest.raises(ConfigError, match=r"tiny:int8-weight loses too much: perplexity 25 .*\+25.00%"):
        judged(base, NAMED, allow_unmeasured=True)
    settings = load_settings(
        write_config("text-generation", tmp_path, base, NAMED, more=", gate: {max_perplexity_increase: 0.3}")
    )
    assert judge(settings, {"tiny": base})[INT8].verdict.measured


def test_a_measurement_of_other_weights_or_recipes_does_not_count(base: Path, tmp_path: Path) -> None:
    save_recipe(Recipe("int8-weight", group=8), tmp_path / "made")
    write_quality(measured(base), tmp_path / "made")
    with pytest.raises(ConfigError, match="another recipe"):
        judged(base, NAMED)
    save_recipe(RECIPE, tmp_path / "made")
    assert judged(base, NAMED)[INT8].verdict.measured
    (base / "config.json").write_text((base / "config.json").read_text() + "\n")
    with pytest.raises(ConfigError, match="other weights"):
        judged(base, NAMED)


def test_what_was_never_measured_needs_leave(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="never measured"):
        judged(base, "{precision: int4-weight}")
    found = judged(base, "{precision: int4-weight}", allow_unmeasured=True)["tiny", "int4-weight"]
    assert not found.verdict.measured
    assert found.recipe is not None
    assert found.recipe.precision == "int4-weight"
    (path,) = files_of({("tiny", "int4-weight"): found}).values()
    assert (path / PREPARED).exists()


def test_bf16_may_have_been_measured(base: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    write_quality(measured(base, "bf16"), tmp_path / "made")
    found = judged(base, "{precision: bf16, prepared: made}")["tiny", "bf16"]
    assert found.verdict.quality == measured(base, "bf16")
    assert files_of({("tiny", "bf16"): found}) == {("tiny", "bf16"): base}


def test_fp8_needs_a_gpu(base: Path) -> None:
    settings = load_settings(write_config("text-generation", base.parent, base, "{precision: fp8}"))
    with pytest.raises(ConfigError, match="tiny:fp8 needs a GPU"):
        judge(settings, {"tiny": base}, allow_unmeasured=True)


def test_folders_that_are_none(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        judged(base, NAMED)
    (tmp_path / "made").mkdir()
    with pytest.raises(ConfigError, match=r"has no recipe.json"):
        judged(base, NAMED)
    save_recipe(Recipe("int4-weight"), tmp_path / "made")
    with pytest.raises(ConfigError, match="is one for int4-weight"):
        judged(base, NAMED)
    (tmp_path / "made" / "recipe.json").write_text("{")
    with pytest.raises(CheckpointError, match="tiny:int8-weight: "):
        judged(base, NAMED)


@pytest.mark.model
def test_the_demos_variants_pass_the_gate(demo_models: dict[str, Path]) -> None:
    """All of them, with speeds that say which one is worth waking."""
    settings = load_settings(DEMO_CONFIG)
    found = judge(settings, demo_models)
    quantized = [(key, one.verdict) for key, one in found.items() if one.recipe is not None]
    assert len(quantized) == 9
    for key, verdict in quantized:
        assert verdict.quality is not None, key
        assert verdict.quality.speedup is not None, key
