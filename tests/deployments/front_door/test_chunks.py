"""JSON in events: one line for whoever reads it, and the same text."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from deployments.front_door.chunks import dumps, event, quote

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"))


@given(TEXTS)
@example("a\u2028b\u2029c\x85d")
def test_a_text_stays_on_its_line(text: str) -> None:
    """Also for clients that take more for the end of a line than the standard does: httpx, by `str.splitlines`."""
    for written in (quote(text), dumps(text)):
        assert written.splitlines() == [written]
        assert json.loads(written) == text


@given(st.dictionaries(TEXTS, TEXTS))
def test_an_event_is_two_lines(value: dict[str, str]) -> None:
    first, second = event(value).decode().splitlines()
    assert json.loads(first.removeprefix("data: ")) == value
    assert second == ""
