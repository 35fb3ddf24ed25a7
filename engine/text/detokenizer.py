"""Token ids to text, piece by piece, for streams."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from engine.text.tokenizer import Tokenizer

_MAX_CHARACTER_TOKENS = 4  # a character has at most four bytes
_REPLACEMENT = "\ufffd"


class IncrementalDetokenizer:
    """Turns one sequence's tokens into text as they come, at a constant cost per token.

    All pieces of `push` and the last one of `flush` joined are what `Tokenizer.decode` gives for all tokens at once.
    No piece ends within a character. `prompt_tail` are the tokens before the first one (the last four are enough):
    the text continues theirs, so a leading space is kept, and a character that they began is given when complete.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_tail: Sequence[int] = (), skip_special_tokens: bool = True) -> None:
        skipped: frozenset[int] = tokenizer.special_ids if skip_special_tokens else frozenset()
        self._pieces: _BytePieces | _DecodedPieces = (
            _DecodedPieces(tokenizer, skipped) if tokenizer.byte_tokens is None else _BytePieces(tokenizer, skipped)
        )
        self.push(prompt_tail)

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that these tokens complete; "" while there is only a part of a character."""
        return self._pieces.push(token_ids)

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that was never completed, otherwise ""."""
        return self._pieces.flush()


class _BytePieces:
    """For tokenizers that join bytes: an incremental UTF-8 decoder is all there is to it."""

    def __init__(self, tokenizer: Tokenizer, skipped: frozenset[int]) -> None:
        self._token_bytes = tokenizer.token_bytes
        self._skipped = skipped
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._strip = tokenizer.byte_tokens is not None and tokenizer.byte_tokens.strips_space

    def push(self, token_ids: Sequence[int]) -> str:
        return self._emit(b"".join(self._token_bytes(i) for i in token_ids if i not in self._skipped))

    def flush(self) -> str:
        return self._emit(b"", final=True)

    def _emit(self, data: bytes, final: bool = False) -> str:
        text = self._decoder.decode(data, final)
        if self._strip and text:  # the first character of the whole text
            self._strip = False
            return text.removeprefix(" ")
        return text


class _DecodedPieces:
    """For all other tokenizers: decode a short window twice, without and with the new tokens, and give the difference.

    The window starts at the tokens of the last piece, for how a token reads may depend on the one before it.
    """

    def __init__(self, tokenizer: Tokenizer, skipped: frozenset[int]) -> None:
        self._backend = tokenizer.backend
        self._skipped = skipped
        self._window: list[int] = []
        self._read = 0  # so many of the window's tokens have been given

    def push(self, token_ids: Sequence[int]) -> str:
        return "".join(self._push_one(i) for i in token_ids if i not in self._skipped)

    def flush(self) -> str:
        return self._give()

    def _push_one(self, token_id: int) -> str:
        if self._backend.id_to_token(token_id) is None:
            return ""
        self._window.append(token_id)
        waiting = len(self._window) - self._read
        if waiting < _MAX_CHARACTER_TOKENS and self._decode(self._window).endswith(_REPLACEMENT):
            return ""
        return self._give()

    def _give(self) -> str:
        before, after = self._decode(self._window[: self._read]), self._decode(self._window)
        if len(after) <= len(before):
            return ""
        self._window, self._read = self._window[self._read :], len(self._window) - self._read
        return after[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        return self._backend.decode(ids, skip_special_tokens=False)
