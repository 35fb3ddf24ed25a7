from __future__ import annotations

from pathlib import Path

import pytest

from cluster.training.data import LabelledText, digest, read_labelled, read_lines, read_pairs, require_known
from engine.errors import ConfigError


def file(folder: Path, text: str, name: str = "data") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_a_csv_file_with_quotes_commas_and_lines_within_fields(tmp_path: Path) -> None:
    path = file(tmp_path, '\ufefftext,category\r\n"Hello, ""you""",a\r\n"two\nlines",b\r\n\r\n')
    assert read_labelled(path) == [LabelledText('Hello, "you"', "a"), LabelledText("two\nlines", "b")]


def test_the_column_named_text_is_the_text(tmp_path: Path) -> None:
    assert read_labelled(file(tmp_path, "label,text\na,hello\n")) == [LabelledText("hello", "a")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("text,label\n", "a header and no rows"),
        ("text\nhello\n", "line 1: 1 columns"),
        ("text,label\na,b\nhello, you,c\n", "line 3: 3 fields"),
        ("text,label\na,b\nhello,\n", "line 3: the label is empty"),
        ("text,label\n ,b\n", "line 2: the text is empty"),
        ('text,label\n"a"b,c\n', "line 2: "),
    ],
)
def test_faults_are_told_with_their_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_labelled(file(tmp_path, text))


def test_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    assert read_lines(file(tmp_path, "one\u2028still one\r\ntwo\n")) == ["one\u2028still one", "two"]


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is empty"):
        read_lines(file(tmp_path, "\n \n"))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_lines(tmp_path / "absent")
    (tmp_path / "latin").write_bytes(b"gr\xfc\xdfe")
    with pytest.raises(ConfigError, match=r"no UTF-8 text .* at byte 2"):
        read_lines(tmp_path / "latin")


def test_pairs_must_match_line_by_line(tmp_path: Path) -> None:
    three, two = file(tmp_path, "a\nb\nc\n", "en"), file(tmp_path, "x\ny\n", "de")
    with pytest.raises(ConfigError, match=r"has 3 lines, .* has 2"):
        read_pairs(three, two)
    with pytest.raises(ConfigError, match="de, line 2: an empty line"):
        read_pairs(three, file(tmp_path, "x\n\nz\n", "de"))


def test_labels_that_training_never_sees(tmp_path: Path) -> None:
    rows = [LabelledText("t", label) for label in ("a", "new", "newer")]
    with pytest.raises(ConfigError, match=r"labels that the training data does not have \(2\): new, newer"):
        require_known(tmp_path / "test.csv", rows, ["a", "b"])
    require_known(tmp_path, rows[:1], ["a"])


def test_digests_are_of_the_bytes(tmp_path: Path) -> None:
    assert digest(file(tmp_path, "")).startswith("e3b0c44298fc1c14")
