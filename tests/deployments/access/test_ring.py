from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.access import ring
from deployments.access.keys import Key, digest_of
from deployments.access.ring import KeyFile, Ring
from deployments.yaml_lines import Unreadable
from engine.errors import ConfigError, NotAuthenticated


def line(name: str, secret: str, extra: str = "") -> str:
    return f"  - {{name: {name}, sha256: {digest_of(secret.encode()).hex()}, models: ['*']{extra}}}\n"


def text(**secrets: str) -> str:
    return "keys:\n" + "".join(line(name, secret) for name, secret in secrets.items())


def test_find() -> None:
    keys = [Key(f"k{i}", digest_of(f"secret-{i}".encode())) for i in range(50)]
    found = Ring(keys)
    for i, key in enumerate(keys):
        assert found.find(f"secret-{i}".encode()) is key
    for wrong in (b"", b"secret", b"secret-50", digest_of(b"secret-0"), digest_of(b"secret-0").hex().encode()):
        assert found.find(wrong) is None
    assert Ring(()).find(b"secret-0") is None


def test_identify(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text("keys:\n" + line("a", "one") + line("old", "two", ", expires: 1970-01-01T00:01:00+00:00"))
    now = 59.0
    keys = KeyFile(path, lambda: now)
    assert keys.identify(b"Bearer one").name == "a"
    assert keys.identify(b"bearer  one ").name == "a"
    assert keys.identify(b"Bearer two").name == "old"
    now = 60.0
    with pytest.raises(NotAuthenticated, match="has expired"):
        keys.identify(b"Bearer two")
    for header in (None, b"", b"one", b"Basic one", b"Bearer", b"Bearer  "):
        with pytest.raises(NotAuthenticated, match="wants an API key"):
            keys.identify(header)
    with pytest.raises(NotAuthenticated, match="no API key of this server") as caught:
        keys.identify(b"Bearer wrong-secret")
    assert "wrong-secret" not in caught.value.message


def names(keys: KeyFile) -> list[str]:
    return [key.name for key in keys.ring.keys]


def test_taken_again_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text(a="one"))
    keys = KeyFile(path)
    before = keys.ring
    keys.look()
    assert keys.ring is before
    path.write_text(text(a="one", b="two"))  # in place
    keys.look()
    assert names(keys) == ["a", "b"]
    other = tmp_path / "other"
    other.write_text(text(b="two", c="3"))
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))  # another file of the same age and size
    other.replace(path)
    with caplog.at_level(logging.WARNING):
        keys.look()
    assert names(keys) == ["b", "c"]
    assert "new c, gone a" in caplog.text


def test_a_mounted_secret(tmp_path: Path) -> None:
    """As the kubelet does it: keys.yaml -> ..data/keys.yaml, and ..data -> a folder that is replaced."""
    for number, secret in enumerate(("one", "two")):
        folder = tmp_path / f"..{number}"
        folder.mkdir()
        (folder / "keys.yaml").write_text(text(a=secret))
    data = tmp_path / "..data"
    data.symlink_to("..0")
    path = tmp_path / "keys.yaml"
    path.symlink_to("..data/keys.yaml")
    keys = KeyFile(path)
    assert keys.identify(b"Bearer one").name == "a"
    (tmp_path / "..data_tmp").symlink_to("..1")
    (tmp_path / "..data_tmp").replace(data)
    keys.look()
    assert keys.identify(b"Bearer two").name == "a"
    with pytest.raises(NotAuthenticated):
        keys.identify(b"Bearer one")


@pytest.mark.parametrize("damage", ["keys: [", "keys:\n  - {name: b}", None, "\x00", ""])
def test_a_broken_file_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str | None) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text(a="one"))
    keys = KeyFile(path)
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    with caplog.at_level(logging.ERROR):
        keys.look()
        keys.look()
    assert keys.identify(b"Bearer one").name == "a"
    assert keys.broken
    assert [record.levelname for record in caplog.records] == ["ERROR"]  # told once
    assert "keys.yaml" in caplog.text
    path.write_text(text(b="two"))
    keys.look()
    assert (names(keys), keys.broken) == (["b"], False)


@pytest.mark.parametrize("fault", [Unreadable("too many open files"), ValueError("nobody expects it")])
def test_what_cannot_be_read_for_a_moment_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text(a="one", revoked="two"))
    keys = KeyFile(path)

    def failing(at: Path) -> tuple[Key, ...]:
        raise fault

    path.write_text(text(a="one"))
    with monkeypatch.context() as broken:
        broken.setattr(ring, "read_keys", failing)
        for _ in range(3):
            keys.look()
    assert (names(keys), keys.broken) == (["a", "revoked"], True)
    assert [record.levelname for record in caplog.records] == ["ERROR"]  # told once
    assert str(fault) in caplog.text
    keys.look()  # the file is as it was
    assert (names(keys), keys.broken) == (["a"], False)


def test_a_file_of_which_nothing_can_be_told_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text(a="one"))
    keys = KeyFile(path)
    path.rename(tmp_path / "away")
    path.mkdir()  # EISDIR
    keys.look()
    assert keys.broken
    path.rmdir()
    (tmp_path / "away").rename(path)
    keys.look()
    assert (names(keys), keys.broken) == (["a"], False)
    with monkeypatch.context() as broken:
        broken.setattr(keys, "_mark", lambda: None)
        broken.setattr(ring, "read_keys", lambda at: (_ for _ in ()).throw(Unreadable("no")))
        keys.look()
    assert keys.broken
    keys.look()  # and nothing about the file has changed since it was taken
    assert not keys.broken


def test_a_file_that_is_wrong_is_not_read_again_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text(a="one"))
    keys = KeyFile(path)
    path.write_text("keys: [")
    keys.look()
    assert keys.broken
    monkeypatch.setattr(ring, "read_keys", None)
    keys.look()
    assert keys.broken


async def test_watch_tells_what_it_cannot_even_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ring, "LOOK_S", 0.001)
    path = tmp_path / "keys.yaml"
    path.write_text(text(a="one"))
    keys = KeyFile(path)
    failing = True

    async def to_thread(work: Callable[[], None]) -> None:
        if failing:
            raise RuntimeError("can't start new thread")
        work()

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    task = asyncio.create_task(keys.watch())
    try:
        async with asyncio.timeout(30):
            while not keys.broken:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            assert "can't start new thread" in caplog.text
            failing = False
            while keys.broken:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    finally:
        task.cancel()


def test_it_has_to_be_right_at_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        KeyFile(tmp_path / "keys.yaml")


async def test_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "LOOK_S", 0.001)
    path = tmp_path / "keys.yaml"
    path.write_text(text(a="one"))
    keys = KeyFile(path)
    task = asyncio.create_task(keys.watch())
    try:
        for content in ("keys: [", text(b="two")):
            path.write_text(content)
        async with asyncio.timeout(30):
            while names(keys) != ["b"]:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    finally:
        task.cancel()
