from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.access.exposure import check_access, for_this_machine_only
from deployments.settings import Access, Http, Settings, is_loopback, read_settings
from engine.errors import ConfigError

MODELS = [{"name": "tiny", "source": "pypi:x==1/y"}]


def settings(keys: Path | None = None, **http: Any) -> Settings:
    given = read_settings({"models": MODELS, "http": http}, Path("/nowhere"), lambda at: "")
    return given if keys is None else given.model_copy(update={"access": Access(keys=str(keys))})


@pytest.mark.parametrize("http", [{}, {"host": "::1"}, {"host": "localhost"}, {"host": "127.0.0.2"}])
def test_this_machine_needs_no_keys(http: Any) -> None:
    check_access(settings(**http))


@pytest.mark.parametrize("http", [{"host": "0.0.0.0"}, {"host": "::"}, {"host": "10.0.0.1"}, {"admin_host": "0.0.0.0"}])
def test_others_do(http: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"others reach .* `stageline keys new NAME .* http\.without_keys") as caught:
        check_access(settings(**http))
    assert caught.value.param == "access.keys"
    check_access(settings(**http, without_keys=True))
    check_access(settings(**http), to_others=False)
    keys = tmp_path / "keys.yaml"
    keys.write_text("keys: []")
    check_access(settings(keys, **http))
    with pytest.raises(ConfigError, match="leave one of them out"):
        check_access(settings(keys, **http, without_keys=True))


@pytest.mark.parametrize("http", [{}, {"host": "::1", "admin_host": "localhost"}, {"host": "127.0.0.2"}])
def test_only_for_this_machine(http: Any) -> None:
    assert for_this_machine_only(Http(**http), has_keys=False)
    assert not for_this_machine_only(Http(**http), has_keys=True)
    assert not for_this_machine_only(Http(**http, without_keys=True), has_keys=False)


@pytest.mark.parametrize("http", [{"host": "0.0.0.0"}, {"host": "10.0.0.1"}, {"admin_host": "::"}])
def test_not_only_for_this_machine(http: Any) -> None:
    assert not for_this_machine_only(Http(**http), has_keys=False)


def test_a_file_that_is_not_right(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        check_access(settings(tmp_path / "keys.yaml"))


def test_where_others_reach_it_whatever_it_says() -> None:
    with pytest.raises(ConfigError, match="others reach this one"):
        check_access(settings(), to_others=True)


def test_paths_count_from_the_file_and_keep_their_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data")
    found = read_settings({"models": MODELS, "access": {"keys": "link/keys.yaml"}}, tmp_path, lambda at: "")
    assert found.access.keys == str(tmp_path / "link" / "keys.yaml")


@pytest.mark.parametrize("host", ["", "example.org", "127.0.0.1.example.org", "0.0.0.0", "::"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)
    assert Http().without_keys is False
