"""A folder is there whole or as it was before."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.measuring.folder import check_out, written
from engine.errors import ConfigError


def test_it_is_there_when_it_is_complete(tmp_path: Path) -> None:
    with written(tmp_path / "a" / "b") as folder:
        (folder / "x").write_text("new")
        assert not (tmp_path / "a" / "b").exists()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert (tmp_path / "a" / "b" / "x").read_text() == "new"


def test_an_earlier_one_is_replaced_or_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("old")
    (tmp_path / ".a.partial").mkdir()
    (tmp_path / ".a.partial" / "rest").write_text("of a killed attempt")

    def fail() -> None:
        with written(tmp_path / "a") as folder:
            assert list(folder.iterdir()) == []
            (folder / "x").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "a" / "x").read_text() == "old"
    with written(tmp_path / "a") as folder:
        (folder / "y").write_text("new")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["y"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_it_survives_being_stopped_while_it_is_put_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("old")
    rename = Path.rename

    def stop(self: Path, target: Path) -> Path:
        if self.name == ".a.partial":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stop)
    with pytest.raises(KeyboardInterrupt), written(tmp_path / "a"):
        pass
    assert (tmp_path / "a" / "x").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_holds_something_else_is_not_replaced(tmp_path: Path) -> None:
    check_out(tmp_path / "new")
    check_out(tmp_path)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds something else"):
        check_out(tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        check_out(tmp_path / "thesis.txt")
    (tmp_path / "quality.json").write_text("{}")
    check_out(tmp_path)
