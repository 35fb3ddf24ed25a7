from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from deployments.access.key_file import Sections, change
from deployments.access.keys import Key, KeyLimits, digest_of, new_secret, read_keys, read_sections, section_of
from engine.errors import ConfigError

HASH = digest_of(b"secret").hex()


def written(folder: Path, text: str) -> Path:
    path = folder / "keys.yaml"
    path.write_text(text)
    return path


def test_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"""
keys:
  - name: team-a
    sha256: {HASH}
    models: [tiny, "org/*:bf16"]
    scopes: [metrics]
    limits: {{requests_per_minute: 60, tokens_per_minute: 1000, concurrent: 3}}
    weight: 2
    expires: 1970-01-02
  - {{name: all, sha256: '{"0" * 64}', models: ["*"], expires: 1970-01-01T00:00:05+00:00}}
""",
    )
    one, other = read_keys(path)
    assert one == Key(
        "team-a",
        digest_of(b"secret"),
        ("tiny", "org/*:bf16"),
        frozenset({"metrics"}),
        KeyLimits(60, 1000, 3),
        2.0,
        86_400.0,
    )
    assert (other.limits, other.weight, other.scopes, other.expires_s) == (KeyLimits(), 1.0, frozenset(), 5.0)
    assert (other.expired(4.9), other.expired(5.0), one.expired(86_399)) == (False, True, False)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- 1", "no file of keys"),
        ("keys: 5", r"keys\.yaml:1: keys: "),
        (f"keys:\n  - {{name: a, sha256: {HASH}}}", r"keys\.yaml:2: keys\[0\]\.models: this key is needed"),
        ("keys:\n  - {name: a, sha256: secret, models: []}", r"keys\[0\]\.sha256"),
        (f"keys:\n  - {{name: a, sha256: {HASH}, models: [], scope: x}}", "did you mean 'scopes'"),
        (f"keys:\n  - {{name: a, sha256: {HASH}, models: [], scopes: [root]}}", "'root' is not one of"),
        (f"keys:\n  - {{name: a, sha256: {HASH}, models: ['a b']}}", "'a b' is no model"),
        (f"keys:\n  - {{name: a, sha256: {HASH}, models: [], limits: {{concurrent: 0}}}}", "concurrent"),
        (f"keys:\n  - {{name: a, sha256: {HASH}, models: [], weight: 0}}", "weight"),
        (
            f'keys:\n  - {{name: a, sha256: {HASH}, models: []}}\n  - {{name: a, sha256: "{"0" * 64}", models: []}}',
            "name 'a' is there twice",
        ),
        (
            f"keys:\n  - {{name: a, sha256: {HASH}, models: []}}\n  - {{name: b, sha256: {HASH}, models: []}}",
            "is there twice",
        ),
    ],
)
def test_complaints(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read_keys(written(tmp_path, text))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_keys(tmp_path / "keys.yaml")


def section(name: str, secret: str) -> Sections:
    return (section_of({"name": name, "sha256": digest_of(secret.encode()).hex(), "models": ["*"]}),)


def test_changes_are_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    change(path, lambda sections: sections + section("a", "1"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.stat().st_ino
    change(path, lambda sections: sections + section("b", "2"))
    assert path.stat().st_ino != before  # another file in its place
    assert [key.name for key in read_keys(path)] == ["a", "b"]
    assert [one.name for one in tmp_path.iterdir()] == ["keys.yaml"]

    def fail(sections: Sections) -> Sections:
        raise ConfigError("no")

    with pytest.raises(ConfigError):
        change(path, fail)
    assert [key.name for key in read_keys(path)] == ["a", "b"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(tmp_path / "keys.yaml")
    change(link, lambda sections: sections + section("a", "1"))
    assert link.is_symlink()
    assert [key.name for key in read_keys(link)] == ["a"]


def test_two_commands_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"

    def add(number: int) -> None:
        change(path, lambda sections: sections + section(f"k{number}", str(number)))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {key.name for key in read_keys(path)} == {f"k{number}" for number in range(8)}


def test_all_fields_survive(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"keys: [{{name: a, sha256: {HASH}, models: [m], scopes: [admin], limits: {{concurrent: 2}}, weight: 0.5, "
        "expires: 2030-01-01T12:00:00+02:00}]",
    )
    before = read_sections(path)
    change(path, lambda sections: sections)
    assert read_sections(path) == before


def test_secrets_differ() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(one.startswith("sk-stageline-") and len(one) == len("sk-stageline-") + 43 for one in secrets)
