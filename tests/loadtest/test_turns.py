from __future__ import annotations

from rich.console import Console

from loadtest.turns import there_and_back, turns

QUIET = Console(quiet=True)


def test_each_has_its_turn_and_another_begins_each_round() -> None:
    taken = list(turns("abc", 3, QUIET))
    assert [number for number, _ in taken] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert "".join(item for _, item in taken) == "bca" + "cab" + "abc"


def test_the_round_that_does_not_count_comes_first() -> None:
    assert [number for number, _ in turns("ab", 2, QUIET, warm_up=True)] == [0, 0, 1, 1, 2, 2]


def test_there_and_back_again() -> None:
    assert "".join(item for _, item in turns("abc", 2, QUIET, order=there_and_back)) == "abccba"


def test_without_items_or_rounds_nobody_has_a_turn() -> None:
    assert list(turns("", 2, QUIET)) == list(turns("a", 0, QUIET)) == []


def test_the_bar_says_whose_turn_it_is() -> None:
    console = Console(force_terminal=True, width=100)
    with console.capture() as capture:
        list(turns("ab", 1, console, name=lambda item: f"server {item}"))
    assert "round 1 of 1: server" in capture.get()
