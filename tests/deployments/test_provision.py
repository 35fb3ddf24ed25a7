"""Files where they are needed: what is there is used, what is not is fetched and made on the spot."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deployments import sources
from deployments.provision import BaseFiles, RecipeFile, VariantFiles, base_path, variant_path
from deployments.settings import load_settings
from deployments.sources.weights import weights_digest
from deployments.variant_files import files_of, judge, served_files
from engine.checkpoint.prepared import FILE as PREPARED
from engine.errors import SourceError
from engine.quantization.recipe import Recipe, save_recipe
from tests.deployments.tiny_served import own_cache, write_config
from tests.engine import tiny

RECIPE = Recipe("int8-weight", group=16)
ELSEWHERE = "/nowhere/on/this/node"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own_cache(tmp_path, monkeypatch)
    tiny.write_checkpoint("llama", tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def fetched(base: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was fetched: whatever is asked for is the base."""
    asked: list[str] = []

    def fetch(source: str, *, sha256: str | None, changes: str | None, progress: sources.Progress) -> Path:
        asked.append(source)
        for done in (0, 1, 2):
            progress("a model", done, 2)
        return base

    monkeypatch.setattr(sources, "fetch_with_changes", fetch)
    return asked


def hub(base: Path) -> BaseFiles:
    """A model that was fetched by another node."""
    return BaseFiles(ELSEWHERE, "hf:a/b@main", weights_digest(base))


def made(base: Path, recipe: Recipe = RECIPE, folder: Path | None = None) -> VariantFiles:
    about = RecipeFile(recipe.precision, recipe.digest(), None if folder is None else str(folder))
    return VariantFiles(f"{ELSEWHERE}/made", hub(base), about)


def refuse(*args: object, **options: object) -> Path:
    raise AssertionError("there was nothing to fetch, to hash or to make")


def test_of_what_is_there_nothing_is_asked(base: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.sources.weights.weights_digest", refuse)
    assert base_path(BaseFiles(str(base), "hf:a/b@main", "another")) == base
    assert variant_path(VariantFiles.at(base)) == base
    assert variant_path(VariantFiles(str(base), BaseFiles(ELSEWHERE, "hf:a/b@main", ""), None)) == base
    assert fetched == []


def test_what_is_not_is_fetched(base: Path, fetched: list[str], caplog: pytest.LogCaptureFixture) -> None:
    assert base_path(hub(base)) == base
    began, ended = (record.message for record in caplog.records)
    assert began == "fetching a model, as it is not on this node yet"
    assert ended.startswith("fetching a model took ")
    assert variant_path(VariantFiles(ELSEWHERE, hub(base))) == base
    assert fetched == ["hf:a/b@main"] * 2


def test_weights_that_were_not_judged_are_not_served(base: Path, fetched: list[str]) -> None:
    with pytest.raises(SourceError, match=r"On .+: hf:a/b@main came with other weights .* pin it"):
        base_path(replace(hub(base), digest="0" * 64))


def test_a_variant_is_made_once(base: Path, fetched: list[str], tmp_path: Path) -> None:
    save_recipe(RECIPE, tmp_path / "recipe")
    files = made(base, folder=tmp_path / "recipe")
    found = variant_path(files)
    assert found.is_relative_to(tmp_path / "cache" / "prepared")
    assert (found / PREPARED).exists()
    fetched.clear()
    shutil.rmtree(tmp_path / "recipe")
    assert variant_path(files) == found
    assert fetched == [], "what is made needs neither its base nor its recipe"


def test_a_default_recipe_needs_no_folder(base: Path, fetched: list[str]) -> None:
    assert (variant_path(made(base, Recipe("int8-dynamic"))) / PREPARED).exists()


def nothing(folder: Path) -> None:
    pass


def another(folder: Path) -> None:
    save_recipe(Recipe("int8-weight", group=32), folder)


@pytest.mark.parametrize(("put", "wrong"), [(nothing, "There is no folder"), (another, "another recipe")])
def test_a_recipe_that_is_not_the_judged_one(
    put: Callable[[Path], None], wrong: str, base: Path, fetched: list[str], tmp_path: Path
) -> None:
    put(tmp_path / "recipe")
    with pytest.raises(SourceError, match=f"On .+: .*{wrong}"):
        variant_path(made(base, folder=tmp_path / "recipe"))


@pytest.mark.parametrize(("source", "changes"), [(ELSEWHERE, None), ("hf:a/b@main", ELSEWHERE)])
def test_a_path_has_to_be_on_every_node(source: str, changes: str | None, base: Path, fetched: list[str]) -> None:
    with pytest.raises(SourceError, match=r"On .+: There is no model at /nowhere/.* every node"):
        base_path(BaseFiles(f"{ELSEWHERE}/merged", source, "", changes=changes))
    assert fetched == []


def test_replicas_are_told_where_the_files_are_here(base: Path, tmp_path: Path) -> None:
    """So that nodes that share them, or this very node, have nothing to do."""
    variants = ("{precision: bf16}", "{precision: int8-weight}")
    settings = load_settings(write_config("text-generation", tmp_path, base, *variants))
    judged = judge(settings, {"tiny": base}, allow_unmeasured=True)
    told = served_files(settings, judged)
    assert {key: Path(files.path) for key, files in told.items()} == files_of(judged)
    assert told["tiny", "int8-weight"].base.digest == weights_digest(base)
    assert [variant_path(files) for files in told.values()] == list(files_of(judged).values())
