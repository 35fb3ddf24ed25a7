"""Who is given up after losses, and who is not."""

from __future__ import annotations

from engine.pipeline.blame import LOSSES_IN_A_ROW, Blame


def test_who_was_there_each_time_is_given_up() -> None:
    blame = Blame()
    for _ in range(LOSSES_IN_A_ROW - 1):
        assert blame.lost(["a", "b"]) == []
    assert blame.lost(["a", "c"]) == ["a"]
    assert blame.lost(["b", "a"]) == []  # a new one of that name, and one that was not there the last time


def test_a_gain_clears() -> None:
    blame = Blame()
    blame.gained("a")
    for _ in range(5 * LOSSES_IN_A_ROW):
        assert blame.lost(["a"]) == []
        blame.gained("a")
