"""A revision of a Hugging Face repository, over the hub's HTTP API. Only formats without code in them are taken."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import httpx

from deployments.sources.cache import require_space
from deployments.sources.digest import Digest
from deployments.sources.download import PATIENCE, Patience, Remote, download, get_json
from deployments.sources.names import HuggingFaceSource
from deployments.sources.progress import Progress
from engine.errors import SourceError

DEFAULT_ENDPOINT = "https://huggingface.co"

_SUFFIXES = {".safetensors", ".json", ".jinja", ".model", ".spm", ".txt"}
_MODULE = re.compile(r"\d+_[A-Za-z]+/config\.json")  # of sentence-transformers: how embeddings are pooled
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack"}


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a listing. `path` is relative to the repository's root."""

    path: str
    size: int
    digest: Digest


def stage_hub_files(
    source: HuggingFaceSource, staging: Path, progress: Progress, patience: Patience = PATIENCE
) -> None:
    """Put the revision's files (or the one that the source names, under its own name) into `staging`.

    `$HF_ENDPOINT` is the hub, `$HF_TOKEN` its key for closed repositories. Raises `SourceError`.
    """
    endpoint = os.environ.get("HF_ENDPOINT", DEFAULT_ENDPOINT).rstrip("/")
    token = os.environ.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(headers=headers, timeout=patience.timeout_s, follow_redirects=True) as client:
            _stage(client, endpoint, source, staging, progress, patience)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SourceError(f"{source.repo} could not be downloaded from {endpoint}: {error}.") from error


def _stage(
    client: httpx.Client,
    endpoint: str,
    source: HuggingFaceSource,
    staging: Path,
    progress: Progress,
    patience: Patience,
) -> None:
    listing = get_json(
        client,
        f"{endpoint}/api/models/{source.repo}/revision/{quote(source.revision, safe='')}?blobs=true",
        what=f"{source.repo}@{source.revision}",
        patience=patience,
    )
    commit, files = _read_listing(listing, source)
    wanted = choose_files(files, source)
    missing = sum(file.size for file in wanted if not (staging / _local_name(file, source)).exists())
    require_space(staging, missing, source.repo)
    for file in wanted:
        target = staging / _local_name(file, source)
        target.parent.mkdir(parents=True, exist_ok=True)
        remote = Remote(
            url=f"{endpoint}/{source.repo}/resolve/{commit}/{quote(file.path)}",
            name=f"{source.repo}/{file.path}",
            size=file.size,
            digest=file.digest,
        )
        download(client, remote, target, progress, patience=patience)
    _drop_others(staging, {_local_name(file, source) for file in wanted})


def choose_files(files: list[HubFile], source: HuggingFaceSource) -> list[HubFile]:
    """What to download: the named file, or all of a model in safetensors at the top of the repository."""
    if source.file is not None:
        found = [file for file in files if file.path == source.file]
        if not found or PurePosixPath(source.file).suffix in _PICKLES:
            offered = ", ".join(file.path for file in files if file.path.endswith((".gguf", ".safetensors"))) or "none"
            raise SourceError(
                f"{source.repo}@{source.revision} has no safetensors or GGUF file {source.file}. It has: {offered}.",
                param="source",
            )
        return found
    top = [
        file
        for file in files
        if ("/" not in file.path and PurePosixPath(file.path).suffix in _SUFFIXES) or _MODULE.fullmatch(file.path)
    ]
    if not any(file.path.endswith(".safetensors") for file in top):
        ggufs = ", ".join(file.path for file in files if file.path.endswith(".gguf"))
        hint = f"Name one of its GGUF files: {ggufs}." if ggufs else "Pickled weights are never loaded."
        raise SourceError(f"{source.repo}@{source.revision} has no safetensors. {hint}", param="source")
    return top


def _read_listing(listing: Any, source: HuggingFaceSource) -> tuple[str, list[HubFile]]:
    """Commit and files of the hub's answer."""
    try:
        files = []
        for sibling in listing["siblings"]:
            path = str(sibling["rfilename"])
            parts = path.split("/")
            if "\\" in path or any(part in ("", ".", "..") for part in parts):
                raise SourceError(f"{source.repo} lists a file outside of itself: {path!r}.", param="source")
            lfs = sibling.get("lfs")
            digest = Digest("sha256", str(lfs["sha256"])) if lfs else Digest("git", str(sibling["blobId"]))
            files.append(HubFile(path, int(lfs["size"] if lfs else sibling["size"]), digest))
        return quote(str(listing["sha"]), safe=""), files
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"The hub's answer for {source.repo} is not understood ({error!r} in its listing)."
        ) from error


def _local_name(file: HubFile, source: HuggingFaceSource) -> str:
    return PurePosixPath(file.path).name if source.file is not None else file.path


def _drop_others(staging: Path, wanted: set[str]) -> None:
    """Remove what an earlier, abandoned attempt at another revision left."""
    for path in staging.rglob("*"):
        if path.is_file() and path.relative_to(staging).as_posix() not in wanted:
            path.unlink()
