from __future__ import annotations

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.access.keys import KeyLimits, digest_of, read_keys
from deployments.cli import app
from engine.errors import ConfigError

runner = CliRunner()


def run(*arguments: str) -> str:
    """What goes to standard output."""
    result = runner.invoke(app, ["keys", *arguments], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_a_key_from_its_making_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "keys.yaml"
    file = ("--file", str(path))
    secret = run("new", "a", *file, "--model", "tiny", "--model", "other:int8-*", "--tokens-per-minute", "100").strip()
    assert secret.startswith("sk-stageline-")
    assert "\n" not in secret
    admin = run("new", "me", *file, "--admin", "--weight", "2", "--days", "1").strip()
    one, other = read_keys(path)
    assert one.digest == digest_of(secret.encode())
    assert (one.models, one.limits) == (("tiny", "other:int8-*"), KeyLimits(tokens_per_minute=100))
    assert (other.digest, other.models) == (digest_of(admin.encode()), ())
    assert other.scopes == {"admin"}
    assert other.weight == 2
    assert other.expires_s is not None
    text = path.read_text()
    assert secret not in text
    assert admin not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listed = run("list", *file)
    assert secret not in listed
    assert all(word in listed for word in ("tiny other:int8-*", "admin", "100", "none"))
    with pytest.raises(ConfigError, match="has a key 'a' already"):
        run("new", "a", *file)
    assert "Revoked a" in run("revoke", "a", *file)
    assert [key.name for key in read_keys(path)] == ["me"]
    with pytest.raises(ConfigError, match=r"no key 'a'\. Its keys: me"):
        run("revoke", "a", *file)


def test_all_models_unless_it_is_an_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.yaml"
    monkeypatch.setenv("STAGELINE_KEYS", str(path))
    run("new", "a")
    run("new", "m", "--metrics")
    run("new", "both", "--metrics", "--model", "*")
    assert [key.models for key in read_keys(path)] == [("*",), (), ("*",)]


def test_what_cannot_be(tmp_path: Path) -> None:
    file = ("--file", str(tmp_path / "keys.yaml"))
    with pytest.raises(ConfigError, match="'a b' is no model"):
        run("new", "a", *file, "--model", "a b")
    with pytest.raises(ConfigError, match="name"):
        run("new", "a b", *file)
    with pytest.raises(ConfigError, match="no such file"):
        run("revoke", "a", *file)
    with pytest.raises(ConfigError, match="cannot be written"):
        run("new", "a", "--file", str(tmp_path / "nowhere" / "keys.yaml"))
    assert not (tmp_path / "keys.yaml").exists()
