"""A text as the sentences to translate and all that lies between them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from deployments.front_door.served_models import TranslationModel
from deployments.front_door.translation.markup import Text, take_apart
from engine.errors import InvalidRequest

_HTML_SPACES = re.compile(r"[ \t\n\f\r]+")
_GAP = re.compile(r"[,;:、，；：]\s*|\s+")


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
        for sentence in self.model.split(text):
            yield from self._sentence(sentence)

    def _sentence(self, sentence: str) -> Iterator[str | int]:
        core = sentence.strip()
        if not any(map(str.isalnum, core)):  # spaces, rules, emoji: a model would make something up
            yield sentence
            return
        lead, _, trail = sentence.partition(core)
        yield lead
        tokens, first_token = self.model.text.encode(core, self.source, self.target)
        if len(tokens) > self.model.text.max_source_tokens:
            for half in self._halves(core):
                yield from self._sentence(half)
        else:
            self.encoded.append((tokens, first_token))
            if len(self.encoded) > self.most:
                raise InvalidRequest(f"'q' has more than {self.most:,} sentences. Send several requests.", param="q")
            yield len(self.encoded) - 1
        yield trail

    def _halves(self, sentence: str) -> tuple[str, str]:
        """Cut near the middle: after a clause's end or a space if there is one within the middle half."""
        size = len(sentence)
        if size < 2:
            raise InvalidRequest(
                f"A single character takes more than this model's {self.model.text.max_source_tokens} tokens.",
                param="q",
            )
        gaps = [gap for gap in _GAP.finditer(sentence, size // 4, size - size // 4) if gap.end() < size]
        ends = [gap.end() for gap in gaps if not gap[0][0].isspace()] or [gap.end() for gap in gaps] or [size // 2]
        at = min(ends, key=lambda end: abs(end - size // 2))
        return sentence[:at], sentence[at:]


def put_together(document: Document, translated: Callable[[int], str]) -> str:
    """The document with each sentence replaced by what `translated` gives for its number."""
    return "".join(part if isinstance(part, str) else _translated(part, translated) for part in document)


def _translated(passage: Passage, translated: Callable[[int], str]) -> str:
    text = "".join(part if isinstance(part, str) else translated(part) for part in passage.parts)
    if text == passage.source:
        return passage.raw
    return html.escape(text, quote=False) if passage.escaped else text
