"""A text as the sentences to translate and all that lies between them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from deployments.front_door.served_models import TranslationModel
from deployments.front_door.translation.markup import Text, take_apart
from engine.errors import InvalidRequest
from engine.text.sentences import split_sentences, split_to_fit

_HTML_SPACES = re.compile(r"[ \t\n\f\r]+")


@dataclass(frozen=True, slots=True)
class Passage:
    """Text between two pieces of markup, or a whole text: sentences by their number, and what is kept verbatim.

    `raw` is what it was in the source and `source` what that means; they differ where there are entities.
    """

    raw: str
    source: str
    parts: tuple[str | int, ...]
    escaped: bool


Document = tuple[str | Passage, ...]


@dataclass(slots=True)
class Sentences:
    """Collects the sentences of all texts of a request: their source tokens, and the forced first target token."""

    model: TranslationModel
    source: str
    target: str
    most: int
    encoded: list[tuple[tuple[int, ...], int | None]] = field(default_factory=list)

    def text(self, text: str) -> Document:
        """A plain text. Raises `InvalidRequest`."""
        return (Passage(text, text, tuple(self._parts(text)), escaped=False),)

    def html(self, source: str) -> Document:
        """A page, or a piece of one. Raises `InvalidRequest`."""
        parts: list[str | Passage] = []
        for part in take_apart(source):
            parts.extend(self._passage(part) if isinstance(part, Text) else (part,))
        return tuple(parts)

    def _passage(self, text: Text) -> Iterator[str | Passage]:
        core = text.raw.strip(" \t\n\f\r")
        lead, _, trail = text.raw.partition(core) if core else (text.raw, "", "")
        yield lead
        if core:
            source = html.unescape(core)
            if not text.spaces_count:  # a line end within a paragraph ends no sentence
                source = _HTML_SPACES.sub(" ", source)
            yield Passage(core, source, tuple(self._parts(source)), escaped=True)
        yield trail

    def _parts(self, text: str) -> Iterator[str | int]:
        for piece in split_sentences(text):
            yield from self._sentence(piece.text)
            yield piece.after

    def _sentence(self, sentence: str) -> Iterator[str | int]:
        if not any(map(str.isalnum, sentence)):  # rules, emoji: a model would make something up
            yield sentence
            return
        most = self.model.text.max_source_tokens
        encoded = self.model.text.encode(sentence, self.source, self.target)
        if len(encoded[0]) <= most:
            yield self._number(encoded)
            return
        parts = split_to_fit(sentence, self._size, most)
        if len(parts) == 1:
            raise InvalidRequest(f"A single character takes more than this model's {most} tokens.", param="q")
        for part in parts:
            yield from self._sentence(part.text)
            yield part.after

    def _size(self, text: str) -> int:
        return len(self.model.text.encode(text, self.source, self.target)[0])

    def _number(self, encoded: tuple[tuple[int, ...], int | None]) -> int:
        self.encoded.append(encoded)
        if len(self.encoded) > self.most:
            raise InvalidRequest(f"'q' has more than {self.most:,} sentences. Send several requests.", param="q")
        return len(self.encoded) - 1


def put_together(document: Document, translated: Callable[[int], str]) -> str:
    """The document with each sentence replaced by what `translated` gives for its number."""
    return "".join(part if isinstance(part, str) else _translated(part, translated) for part in document)


def _translated(passage: Passage, translated: Callable[[int], str]) -> str:
    text = "".join(part if isinstance(part, str) else translated(part) for part in passage.parts)
    if text == passage.source:
        return passage.raw
    return html.escape(text, quote=False) if passage.escaped else text
