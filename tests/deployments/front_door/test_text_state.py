from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.front_door.prompts import Prompt
from deployments.front_door.text_state import ChoiceText, Piece, TextOptions
from engine.request import Delta, FinishReason
from tests.deployments.front_door.fakes import EOS, byte_tokenizer, logprob_of

TOKENIZER = byte_tokenizer()


def feed(tokens: list[int], cuts: list[int], options: TextOptions) -> list[Piece]:
    """Push tokens in bundles that end at `cuts`; stop where the text does."""
    text = ChoiceText(TOKENIZER, Prompt((72,), "H"), options)
    ends = sorted({min(cut, len(tokens)) for cut in cuts} | {len(tokens)})
    pieces, start = [], 0
    for end in ends:
        bundle = tuple(tokens[start:end])
        piece = text.push(
            Delta(
                tokens=bundle,
                finish_reason=FinishReason.STOP if end == len(tokens) else None,
                logprobs=tuple(logprob_of(token, 1) for token in bundle) if options.logprobs else (),
            )
        )
        pieces.append(piece)
        start = end
        if piece.finish_reason is not None:
            break
    return pieces


CUTS = st.lists(st.integers(min_value=1, max_value=40), max_size=8)


@given(st.text(alphabet="ab€🎉", max_size=12), CUTS, st.booleans())
def test_bundles_make_no_difference(text: str, cuts: list[int], logprobs: bool) -> None:
    pieces = feed([*text.encode(), EOS], cuts, TextOptions(logprobs=logprobs))
    assert "".join(piece.text for piece in pieces) == text
    assert sum(piece.tokens for piece in pieces) == len(text.encode()) + 1
    assert pieces[-1].finish_reason == "stop"
    if logprobs:
        entries = [entry for piece in pieces for entry in piece.logprobs]
        assert [entry.token for entry in entries] == list(text.encode())


@given(st.text(alphabet="abc", max_size=20), st.text(alphabet="abc", min_size=1, max_size=3), CUTS, st.booleans())
def test_stop_strings_cut_at_the_same_place_whatever_the_bundles(
    text: str, stop: str, cuts: list[int], logprobs: bool
) -> None:
    pieces = feed([*text.encode(), EOS], cuts, TextOptions(stops=(stop,), logprobs=logprobs))
    found = text.find(stop)
    shown = text if found < 0 else text[:found]
    assert "".join(piece.text for piece in pieces) == shown
    assert sum(piece.tokens for piece in pieces) == (len(text) + 1 if found < 0 else found + len(stop))
    if logprobs:
        entries = [entry for piece in pieces for entry in piece.logprobs]
        assert bytes(entry.token for entry in entries).decode() == shown
        assert [entry.offset for entry in entries] == list(range(len(shown)))


def test_logprobs_wait_for_text_that_may_yet_be_cut() -> None:
    text = ChoiceText(TOKENIZER, Prompt((72,)), TextOptions(stops=("bc",), logprobs=True))

    def push(token: str, **fields: Any) -> Piece:
        return text.push(Delta(tokens=(ord(token),), logprobs=(logprob_of(ord(token), 0),), **fields))

    assert [entry.token for entry in push("a").logprobs] == [ord("a")]
    assert push("b").logprobs == []
    assert [entry.token for entry in push("d").logprobs] == [ord("b"), ord("d")]


def test_character_begun_in_the_prompt() -> None:
    text = ChoiceText(TOKENIZER, Prompt((0xE2, 0x82)), TextOptions())
    assert text.push(Delta(tokens=(0xAC,))).text == "€"


def test_error_of_the_delta_is_raised() -> None:
    text = ChoiceText(TOKENIZER, Prompt((72,)), TextOptions())
    with pytest.raises(ValueError, match="broken"):
        text.push(Delta(finish_reason=FinishReason.ERROR, error=ValueError("broken")))
