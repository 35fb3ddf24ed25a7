from __future__ import annotations

import pytest

from loadtest import token_check as module
from loadtest.errors import LoadTestError
from loadtest.record import Record
from loadtest.token_check import MOST_ANSWERS, TokenCheck, by_server, check_tokens, usage_verdict
from tests.loadtest.conftest import Timed


def answered(tokens: int, text: str, **more: object) -> Record:
    record = Record(0, "chat", "m", 0.0, output_tokens=tokens, text=text)
    for name, value in more.items():
        setattr(record, name, value)
    return record


def words(_: str, text: str) -> int:
    return len(text.split())


def test_only_complete_answers_with_a_text_are_compared() -> None:
    records = [
        answered(3, "a b c"),
        answered(4, "a b c"),
        answered(9, ""),
        answered(9, "a", failure="cut"),
        answered(0, "a", kind="classify"),
    ]
    found = check_tokens(records, words)
    assert (found.answers, found.usage, found.tokenizer, found.equal) == (2, 7, 6, 1)


def test_a_server_that_counts_something_else_is_told() -> None:
    assert check_tokens([answered(100, "a " * 97)], words).verdict == ""
    assert "counted 100 tokens in 1 answers" in check_tokens([answered(100, "a " * 50)], words).verdict
    assert check_tokens([], words).verdict == ""


def test_of_many_answers_the_first_are_compared_and_only_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def count(_: str, text: str) -> int:
        asked.append(text)
        return 1

    records = [answered(1, f"{number}") for number in range(1000)]
    assert check_tokens(records, count).answers == MOST_ANSWERS
    assert asked == [f"{number}" for number in range(MOST_ANSWERS)]
    monkeypatch.setattr(module, "LIMIT_S", -1.0)
    assert check_tokens(records, count) == TokenCheck(0, 0, 0, 0)


def test_the_server_counts(timed_server: Timed) -> None:
    with by_server(timed_server.url) as count:
        assert count("m", "three short words") == 3
    with by_server(timed_server.url + "/nothing-here") as count, pytest.raises(LoadTestError, match="does not count"):
        count("m", "x")


def test_answers_without_a_count_are_told() -> None:
    records = [answered(0, "a"), answered(3, "a"), answered(0, "", failure="503"), answered(0, "", kind="classify")]
    assert usage_verdict(records).startswith("1 of 2 complete answers came without `usage`")
    assert usage_verdict([answered(3, "a")]) == ""


def test_answers_with_another_number_of_tokens_than_asked_are_told() -> None:
    records = [answered(7, "a", exact_tokens=8), answered(8, "a", exact_tokens=8), answered(5, "a")]
    assert usage_verdict(records).startswith("1 of 3 complete answers have another number of tokens")
    assert usage_verdict(records[1:]) == ""
