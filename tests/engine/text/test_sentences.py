"""Sentences: nothing is lost, long ones fit, and the usual traps are not fallen into."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.text.sentences import Piece, split_sentences, split_to_fit

TEXTS = st.one_of(
    st.text(max_size=200),
    st.text(st.sampled_from("aB1 .!?。\n\"'()„“,;-…\u2028x\u00a0"), max_size=200),
    st.lists(st.sampled_from(["Dr.", "A", "b", "z.B.", "3.", "1990.", "Ja!", "。", "\n", "  ", '"No."'])).map(" ".join),
)


def whole(pieces: list[Piece]) -> str:
    return "".join(piece.text + piece.after for piece in pieces)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_the_text_is_the_sum_of_its_sentences(text: str) -> None:
    pieces = split_sentences(text)
    assert whole(pieces) == text
    assert all(piece.text == piece.text.strip() for piece in pieces)
    assert all(piece.after == "" or piece.after.isspace() for piece in pieces)
    assert all(piece.text for piece in pieces[1:])
    assert all(not set(piece.text) & set("\n\u2028\r") for piece in pieces)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(1, 30))
def test_parts_fit_and_are_the_whole(text: str, limit: int) -> None:
    pieces = split_to_fit(text, len, limit)
    assert whole(pieces) == text
    assert all(len(piece.text) <= limit for piece in pieces)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Hello there. How are you? Fine!", ["Hello there.", "How are you?", "Fine!"]),
        ("Dr. Smith met Mr. J. Brown at 3.14 p.m. on Jan. 5. They left.", None),
        ("Er kam am 3. Oktober. Es war z.B. kalt.", ["Er kam am 3. Oktober.", "Es war z.B. kalt."]),
        ("That was in 1990. Then it ended.", ["That was in 1990.", "Then it ended."]),
        ('He said: "Go away." Then he left.', ['He said: "Go away."', "Then he left."]),
        ("„Geh weg!“, sagte er. „Nein.“ Sie blieb.", ["„Geh weg!“, sagte er.", "„Nein.“", "Sie blieb."]),
        ('"Really?" he asked. Yes.', ['"Really?" he asked.', "Yes."]),
        ("Well... maybe. Wait... Now.", ["Well... maybe.", "Wait...", "Now."]),
        ("今日は。元気ですか？はい！", ["今日は。", "元気ですか？", "はい！"]),
        ("यह एक है। वह दो है।", ["यह एक है।", "वह दो है।"]),
        ("هل أنت بخير؟ نعم.", ["هل أنت بخير؟", "نعم."]),
        ("One line\nanother line\n\nthird", ["One line", "another line", "third"]),
        ("What?! No way!! OK.", ["What?!", "No way!!", "OK."]),
        ("Visit example.com. It is good.", ["Visit example.com.", "It is good."]),
        ("version 2.0.1 is out", ["version 2.0.1 is out"]),
        ("¿Qué? ¡No! Sí.", ["¿Qué?", "¡No!", "Sí."]),
    ],
)
def test_known_texts(text: str, sentences: list[str] | None) -> None:
    found = [piece.text for piece in split_sentences(text)]
    assert found == (sentences or ["Dr. Smith met Mr. J. Brown at 3.14 p.m. on Jan. 5. They left."])


def test_white_space_is_kept_where_it_was() -> None:
    assert split_sentences("  A b.  C d.\n\n") == [Piece("", "  "), Piece("A b.", "  "), Piece("C d.", "\n\n")]
    assert split_sentences(" \n") == [Piece("", " \n")]
    assert split_sentences("") == []


def test_cuts_at_clauses_then_at_spaces() -> None:
    assert split_to_fit("alpha beta, gamma delta", len, 14) == [Piece("alpha beta,", " "), Piece("gamma delta", "")]
    assert split_to_fit("alpha beta gamma", len, 11) == [Piece("alpha beta", " "), Piece("gamma", "")]
    assert [piece.text for piece in split_to_fit("abcdefgh", len, 3)] == ["ab", "cd", "ef", "gh"]


@pytest.mark.parametrize("unit", [".", ". ", "a.", "A. ", "Dr. ", '."', ". (", "!?", "\n", " ", "x. (((( ", "。「"])
def test_the_work_is_linear(unit: str) -> None:
    """Counted, not timed: how often the characters of the text are looked at."""

    class Counting(str):
        looks = 0

        def __getitem__(self, key):  # type: ignore[no-untyped-def]
            if isinstance(key, slice):
                Counting.looks += len(range(*key.indices(len(self))))
            else:
                Counting.looks += 1
            return str.__getitem__(self, key)

    counts = []
    for repeats in (500, 1000, 2000):
        Counting.looks = 0
        split_sentences(Counting(unit * repeats))
        counts.append(Counting.looks)
    assert counts[2] <= 2.2 * counts[1] <= 2.2 * 2.2 * counts[0]
    assert counts[2] <= 60 * 2000 * len(unit)
