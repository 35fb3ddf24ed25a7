"""The text of one answer as it grows: detokenizing, stop strings, and which logprobs belong to what was shown.

It holds no connection to a replica, so it outlives the one that computes its tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from deployments.front_door.prompts import Prompt
from engine.errors import EngineFailed
from engine.request import Delta, FinishReason
from engine.text.detokenizer import IncrementalDetokenizer
from engine.text.stop_strings import StopStrings
from engine.text.tokenizer import Tokenizer

PROMPT_TAIL = 8
"""How many of the prompt's last tokens the detokenizer sees: enough for a character that began in the prompt."""


@dataclass(frozen=True, slots=True)
class TextOptions:
    """What of the tokens becomes text. `stops` are scanned for after `min_tokens` tokens."""

    stops: tuple[str, ...] = ()
    include_stop: bool = False
    min_tokens: int = 0
    skip_special_tokens: bool = True
    logprobs: bool = False
    echo: bool = False


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """A token's logprob (None: nothing predicts it), its top alternatives, and where its text begins (characters)."""

    token: int
    logprob: float | None
    top: tuple[tuple[int, float], ...]
    offset: int


@dataclass(slots=True)
class Piece:
    """What a delta adds to an answer. `tokens` are completion tokens, which may be more than `text` shows."""

    text: str
    tokens: int
    finish_reason: str | None = None
    logprobs: list[TokenEntry] = field(default_factory=list)
    cached_tokens: int = 0


class ChoiceText:
    """Turns one sequence's deltas into pieces of text. After a piece with `finish_reason`, nothing may be pushed."""

    def __init__(self, tokenizer: Tokenizer, prompt: Prompt, options: TextOptions) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._options = options
        self._detokenizer = IncrementalDetokenizer(
            tokenizer, prompt_tail=prompt.tokens[-PROMPT_TAIL:], skip_special_tokens=options.skip_special_tokens
        )
        self._stops = StopStrings(options.stops, include_stop=options.include_stop) if options.stops else None
        self._by_token = bool(options.stops) or options.logprobs
        self._to_echo = options.echo
        self._count = 0  # tokens whose text was looked at
        self._detokenized = 0  # characters that came out of the detokenizer, from the echoed prompt's first
        self._shown = 0  # of these, how many were handed out
        self._pending: list[TokenEntry] = []

    def push(self, delta: Delta) -> Piece:
        """Raises the delta's own error, or `EngineFailed` for a sequence that the engine dropped."""
        finish = delta.finish_reason
        if delta.error is not None:
            raise delta.error
        if finish is FinishReason.ERROR or finish is FinishReason.ABORT:
            raise EngineFailed("The engine dropped this request. Try again.")
        echo = self._echo(delta) if self._to_echo else ""
        tokens = delta.tokens
        if finish is FinishReason.STOP and not self._options.include_stop:
            tokens = tokens[:-1]  # the stop token counts, but is not text
        if self._by_token:
            return self._push_by_token(delta, tokens, echo)
        text = self._detokenizer.push(tokens) if tokens else ""
        if finish is not None:
            text += self._detokenizer.flush()
        return Piece(
            echo + text, len(delta.tokens), None if finish is None else str(finish), cached_tokens=delta.cached_tokens
        )

    def _push_by_token(self, delta: Delta, tokens: tuple[int, ...], echo: str) -> Piece:
        """The slow way, a token at a time: to know which one completed a stop string and where each one begins."""
        texts = [echo]
        stopped = False
        consumed = len(delta.tokens)
        finish = None if delta.finish_reason is None else str(delta.finish_reason)
        for position, token in enumerate(tokens):
            if self._options.logprobs and position < len(delta.logprobs):
                found = delta.logprobs[position]
                self._pending.append(TokenEntry(token, found.logprob, found.top, self._detokenized))
            self._count += 1
            text, stopped = self._scan(self._detokenizer.push((token,)))
            texts.append(text)
            if stopped:
                consumed = position + 1
                break
        if finish is not None and not stopped:
            text, stopped = self._scan(self._detokenizer.flush())
            texts.append(text)
            if self._stops is not None and not stopped:
                texts.append(self._stops.flush())
        whole = "".join(texts)
        self._shown += len(whole) - len(echo)
        if stopped:
            finish = str(FinishReason.STOP)
        entries = self._take_entries(everything=finish is not None and not stopped)
        return Piece(whole, consumed, finish, entries, delta.cached_tokens)

    def _scan(self, text: str) -> tuple[str, bool]:
        self._detokenized += len(text)
        if self._stops is None or self._count <= self._options.min_tokens:
            return text, False
        return self._stops.push(text)

    def _take_entries(self, everything: bool) -> list[TokenEntry]:
        """Logprobs of what was shown. The others wait: they would give away text that a stop string may yet cut."""
        shown = len(self._pending)
        if not everything:
            shown = next((i for i, entry in enumerate(self._pending) if entry.offset >= self._shown), shown)
        taken, self._pending = self._pending[:shown], self._pending[shown:]
        return taken

    def _echo(self, delta: Delta) -> str:
        """The prompt's text; its tokens' logprobs, if they came, are lined up before the answer's."""
        self._to_echo = False
        tokens = self._prompt.tokens
        pieces = IncrementalDetokenizer(self._tokenizer, skip_special_tokens=False)
        offsets, length = [], 0
        for token in tokens if delta.prompt_logprobs else ():
            offsets.append(length)
            length += len(pieces.push((token,)))
        length += len(pieces.flush())
        text = self._prompt.text
        if text is None:
            text = self._tokenizer.decode(list(tokens), skip_special_tokens=False)
        added = max(0, length - len(text))  # special tokens that the tokenizer put before the caller's text
        for token, offset, found in zip(tokens, offsets, delta.prompt_logprobs, strict=False):
            logprob, top = (None, ()) if found is None else (found.logprob, found.top)
            self._pending.append(TokenEntry(token, logprob, top, max(0, offset - added)))
        self._detokenized = self._shown = len(text)
        return text
