from __future__ import annotations

import pytest

from deployments import choosable
from deployments.choosable import list_changed, listed, on_change


def test_what_serve_tells_is_known_and_told_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosable, "LISTED", {})
    monkeypatch.setattr(choosable, "_ON_CHANGE", {})
    told = []
    on_change("m--v", lambda: told.append(listed("m--v")))
    assert listed("m--v") is None
    list_changed("m--v", lambda: ["a"])
    list_changed("other", lambda: ["b"])
    assert told == [["a"]]
