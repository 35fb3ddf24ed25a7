"""What is streamed, joined, is what decoding everything at once gives, and no piece ends within a character."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.text.detokenizer import IncrementalDetokenizer
from engine.text.tokenizer import Tokenizer
from tests.engine.text.small_tokenizers import CORPUS, KINDS, SAMPLES, byte_level, sentencepiece


def stream(tokenizer: Tokenizer, ids: Sequence[int], cuts: Sequence[int], skip: bool = True) -> list[str]:
    """Push the ids in bundles that end at `cuts`."""
    detokenizer = IncrementalDetokenizer(tokenizer, skip_special_tokens=skip)
    borders = [0, *sorted(cut % (len(ids) + 1) for cut in cuts), len(ids)]
    pieces = [detokenizer.push(ids[a:b]) for a, b in itertools.pairwise(borders)]
    return [*pieces, detokenizer.flush()]


ID_LISTS = st.lists(st.integers(0, 460), max_size=40)
CUTS = st.lists(st.integers(0, 40), max_size=40)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=300)
@given(ids=ID_LISTS, cuts=CUTS, skip=st.booleans())
def test_streamed_equals_decoded_at_once(kind: str, ids: list[int], cuts: list[int], skip: bool) -> None:
    tokenizer = KINDS[kind]()
    assert "".join(stream(tokenizer, ids, cuts, skip)) == tokenizer.decode(ids, skip_special_tokens=skip)


@settings(deadline=None, max_examples=300)
@given(ids=ID_LISTS, skip=st.booleans())
def test_byte_level_decoding_equals_the_library(ids: list[int], skip: bool) -> None:
    tokenizer = byte_level()
    assert tokenizer.decode(ids, skip) == tokenizer.backend.decode(ids, skip_special_tokens=skip)


@settings(deadline=None, max_examples=300)
@given(text=st.text(max_size=30), skip=st.booleans())
def test_sentencepiece_decoding_equals_the_library_for_valid_text(text: str, skip: bool) -> None:
    tokenizer = sentencepiece()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids, skip) == tokenizer.backend.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
@settings(deadline=None, max_examples=200)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\u2581"), max_size=30))  # that stands for a space
@example(text="👩‍👩‍👧‍👦 世界 é")
@example(text="\ufffd is a character too")
def test_no_piece_has_a_broken_character(kind: str, text: str) -> None:
    tokenizer = KINDS[kind]()
    ids = tokenizer.encode(text, add_special_tokens=False)
    detokenizer = IncrementalDetokenizer(tokenizer)
    so_far = ""
    for token in ids:
        so_far += detokenizer.push([token])
        assert text.startswith(so_far)
    assert so_far == text
    assert detokenizer.flush() == ""


def test_a_character_is_given_with_its_last_byte() -> None:
    tokenizer = sentencepiece()
    ids = [3 + byte for byte in "é🙂".encode()]
    assert stream(tokenizer, ids, range(len(ids))) == ["", "", "é", "", "", "", "🙂", ""]


def test_invalid_bytes_become_one_replacement_each_and_wait_for_nothing() -> None:
    tokenizer = sentencepiece()
    detokenizer = IncrementalDetokenizer(tokenizer)
    a = tokenizer.encode("the a", add_special_tokens=False)[-1]
    assert detokenizer.push([3 + 0xFF]) == "\ufffd"  # no character begins so
    assert detokenizer.push([3 + 0xE4]) == ""  # one may begin so
    assert detokenizer.push([a]) == "\ufffd" + tokenizer.token_text(a)
    assert detokenizer.push([3 + 0xE4]) == ""
    assert detokenizer.flush() == "\ufffd"
    assert detokenizer.flush() == ""


def test_leading_space_only_at_the_start_of_a_text() -> None:
    tokenizer = sentencepiece()
    ids = tokenizer.encode("the quick the", add_special_tokens=False)
    assert "".join(stream(tokenizer, ids, range(10))) == "the quick the"
    continued = IncrementalDetokenizer(tokenizer, prompt_tail=tokenizer.encode("a"))
    assert continued.push(ids) == " the quick the"


def test_prompt_tail_may_end_within_a_character() -> None:
    tokenizer = sentencepiece()
    first, second = (3 + byte for byte in "é".encode())
    assert IncrementalDetokenizer(tokenizer, prompt_tail=[first]).push([second]) == "é"
    assert IncrementalDetokenizer(tokenizer, prompt_tail=[second]).push([first, second]) == "é"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [CORPUS[0], SAMPLES[2], "The quick fox."])
def test_continuing_a_prompt(kind: str, text: str) -> None:
    tokenizer = KINDS[kind]()
    ids = tokenizer.encode(text, add_special_tokens=False)
    whole = tokenizer.decode(ids)
    for cut in range(1, len(ids)):
        detokenizer = IncrementalDetokenizer(tokenizer, prompt_tail=ids[:cut])
        rest = detokenizer.push(ids[cut:]) + detokenizer.flush()
        assert whole.endswith(rest)
        assert tokenizer.decode(ids[:cut]) + rest == whole


def test_special_tokens_are_given_when_asked_for() -> None:
    tokenizer = byte_level()
    assert "".join(stream(tokenizer, [0, 1], [1], skip=False)) == "<|end|><|héllo wörld|>"
    assert "".join(stream(tokenizer, [0, 1], [1], skip=True)) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_cost_per_token_is_constant(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in tokens decoded, not in seconds: no push looks at more than a few tokens."""
    tokenizer = KINDS[kind]()
    detokenizer = IncrementalDetokenizer(tokenizer)
    looked_at = 0
    if tokenizer.byte_tokens is None:
        pieces = detokenizer._pieces
        original = pieces._decode  # type: ignore[union-attr]

        def counted(ids: list[int]) -> str:
            nonlocal looked_at
            looked_at += len(ids)
            return original(ids)

        monkeypatch.setattr(pieces, "_decode", counted)
    else:
        original_bytes = tokenizer.token_bytes

        def counted_bytes(token_id: int) -> bytes:
            nonlocal looked_at
            looked_at += 1
            return original_bytes(token_id)

        monkeypatch.setattr(tokenizer, "token_bytes", counted_bytes)
        detokenizer = IncrementalDetokenizer(tokenizer)
    ids = tokenizer.encode(" ".join(CORPUS)) * 3
    for token in ids:
        detokenizer.push([token])
    assert 0 < looked_at <= 8 * len(ids)
