"""Held against the plain definition: look for every stop string at every position of the whole text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidRequest
from engine.text.stop_strings import StopStrings


def by_definition(text: str, stops: list[str], include: bool) -> tuple[str, bool]:
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end if include else end - max(map(len, ending))], True
    return text, False


def may_continue(given_text: str, text: str, stops: list[str]) -> bool:
    """Whether nothing more could have been given of `text` than was."""
    held = text[len(given_text) :]
    return not held or any(stop.startswith(held) for stop in stops)


STOPS = st.lists(st.text("ab", min_size=1, max_size=5), max_size=6)
PIECES = st.lists(st.text("ab", max_size=6), max_size=12)


@settings(deadline=None, max_examples=500)
@given(pieces=PIECES, stops=STOPS, include=st.booleans())
def test_equals_the_definition_in_any_bundling(pieces: list[str], stops: list[str], include: bool) -> None:
    text, expected = "".join(pieces), by_definition("".join(pieces), stops, include)
    search = StopStrings(stops, include_stop=include)
    given_text, stopped = "", False
    for at, piece in enumerate(pieces):
        new, stopped = search.push(piece)
        given_text += new
        assert expected[0].startswith(given_text), "something was given that belongs to a stop string"
        if not stopped:
            assert may_continue(given_text, "".join(pieces[: at + 1]), stops), "text was held back for nothing"
    assert (given_text + search.flush(), stopped) == (expected if expected[1] else (text, False))


def test_across_pieces() -> None:
    search = StopStrings(["</end>"])
    assert search.push("some text <") == ("some text ", False)
    assert search.push("/e") == ("", False)
    assert search.push("lse </end") == ("</else ", False)
    assert search.push("> more") == ("", True)
    assert search.push("and more") == ("", True)
    assert search.flush() == ""


def test_the_first_one_to_be_complete_wins() -> None:
    assert StopStrings(["abcd", "bc"]).push("xabcd") == ("xa", True)
    assert StopStrings(["bc", "abc"]).push("xabc") == ("x", True)
    assert StopStrings(["abc", "bc"], include_stop=True).push("xabcd") == ("xabc", True)


def test_held_text_comes_at_the_end() -> None:
    search = StopStrings(["stop"])
    assert search.push("do not sto") == ("do not ", False)
    assert search.flush() == "sto"
    assert search.flush() == ""


def test_no_stop_strings() -> None:
    assert StopStrings([]).push("anything") == ("anything", False)


def test_empty_stop_string() -> None:
    with pytest.raises(InvalidRequest, match="empty") as raised:
        StopStrings(["a", ""])
    assert raised.value.param == "stop"


def test_thousands_of_stop_strings_cost_no_more_per_character(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in steps of the automaton."""
    search = StopStrings(f"{i:05d}-{i * 7919:x}" for i in range(5000))
    steps = 0
    original = search._step

    def counted(state: int, character: str) -> int:
        nonlocal steps
        steps += 1
        return original(state, character)

    monkeypatch.setattr(search, "_step", counted)
    text = "".join(f"{i:05d}+" for i in range(2000))
    assert "".join(search.push(character)[0] for character in text) + search.flush() == text
    assert steps == len(text)
