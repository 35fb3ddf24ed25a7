"""Data as models take it: token ids. What is compared on them, or observed, is another matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.encoder.describe import EncoderInfo
from engine.errors import ConfigError
from engine.text.tokenizer import Tokenizer
from engine.text.translation import TranslationText

WINDOW = 512  # tokens


@dataclass(frozen=True, slots=True)
class Sample:
    """One input of a model. `target`, of an encoder-decoder only, begins with the start token: every token but the last
    is fed to the decoder, every token but the first is to be predicted."""

    tokens: tuple[int, ...]
    target: tuple[int, ...] = ()


def windows(tokenizer: Tokenizer, text: str, length: int = WINDOW) -> list[Sample]:
    """A long text cut into windows of `length` tokens, the last one shorter. Each begins as the model's texts do, with
    the token that the tokenizer puts before a text. Raises ConfigError where there is nothing to predict."""
    first = opening(tokenizer)
    tokens = tokenizer.encode(text, add_special_tokens=False)
    step = length - len(first)
    found = [Sample((*first, *tokens[at : at + step])) for at in range(0, len(tokens), step)]
    found = [sample for sample in found if len(sample.tokens) > 1]
    if not found:
        raise ConfigError("The text is too short to measure anything on: it needs at least two tokens.")
    return found


def opening(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The token that the tokenizer puts before every text; () where there is none."""
    bos = tokenizer.bos_token_id
    return (bos,) if bos is not None and tokenizer.encode("a")[:1] == [bos] else ()


def texts(tokenizer: Tokenizer, info: EncoderInfo, given: Sequence[str], longest: int) -> list[Sample]:
    """One sample a text, as an encoder's callers send it; what is over `longest` tokens is cut off."""
    found = []
    for text in given:
        whole = info.prompt + text
        found.append(Sample(tuple(tokenizer.encode(whole.lower() if info.lower_case else whole)[:longest])))
    return found


def sentences(
    text: TranslationText, given: Sequence[str], references: Sequence[str], start: int, longest: tuple[int, int]
) -> list[Sample]:
    """One sample a sentence and its translation, of the model's first pair of languages. `start` is the token that
    decoding starts with; what is over `longest` tokens, of source and target, is cut off."""
    source, target = text.pairs[0]
    return [
        Sample(
            text.encode(sentence, source, target)[0][: longest[0]],
            (start, *text.encode_target(reference, source, target))[: longest[1]],
        )
        for sentence, reference in zip(given, references, strict=True)
    ]
