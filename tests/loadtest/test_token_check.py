from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from loadtest.errors import LoadTestError
from loadtest.record import Record
from loadtest.token_check import by_file, by_server, check_tokens
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


def test_the_server_counts(timed_server: Timed) -> None:
    assert by_server(timed_server.url)("m", "three short words") == 3
    with pytest.raises(LoadTestError, match="does not count"):
        by_server(timed_server.url + "/nothing-here")("m", "x")


def test_a_file_counts(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert by_file(tmp_path)("m", "a b a") == 3
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(LoadTestError, match="not a tokenizer"):
        by_file(tmp_path / "other.json")
