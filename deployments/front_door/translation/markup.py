"""Takes HTML apart into markup, which is never touched, and the texts between.

Every character of the source is in exactly one part, so whatever is not translated comes out as it went in, however
broken it is. The standard library's parser is not used: some inputs take it minutes (a run of `<a ` takes time
quadratic in its length), and it does not tell how tags were written. Boundaries are those of the HTML standard's
tokenizer; where it drops the rest of a page (a tag or comment without an end), the rest is markup here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

_SPACE = r"[ \t\n\f\r]"
_NAME = r"[^ \t\n\f\r/>][^ \t\n\f\r/>=]*+"
_VALUE = r"""(?:"[^"]*+"|'[^']*+'|[^ \t\n\f\r>"'][^ \t\n\f\r>]*+|(?=>))"""
# Possessive throughout, so that a match that fails has read each character once.
_TAG = re.compile(
    rf"<(/?)([A-Za-z][^ \t\n\f\r/>]*+)((?:[ \t\n\f\r/]++|{_NAME}(?:{_SPACE}*+={_SPACE}*+{_VALUE}|(?!{_SPACE}*+=)))*+)>"
)
_ATTRIBUTE = re.compile(rf"({_NAME})(?:{_SPACE}*+={_SPACE}*+({_VALUE}))?")
_COMMENT = re.compile(r"<!--(?:-?>|.*?--!?>)", re.DOTALL)
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

_RAW = {
    name: re.compile(rf"</{name}(?=[ \t\n\f\r/>])", re.IGNORECASE)
    for name in ("script", "style", "textarea", "iframe", "noembed", "noframes", "xmp")
}
"""Elements that hold no markup, with what ends each. None of them is translated."""

_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr")
)
_BLOCKS = ("address", "article", "aside", "blockquote", "div", "dl", "fieldset", "footer", "form", "header", "hr",
           "main", "nav", "ol", "p", "pre", "section", "table", "ul", "h1", "h2", "h3", "h4", "h5", "h6")  # fmt: skip
_CELL_ENDS = frozenset({"td", "th", "tr", "tbody", "tfoot"})
_ENDED_BY = {
    "p": frozenset(_BLOCKS),
    "li": frozenset({"li"}),
    "dt": frozenset({"dt", "dd"}),
    "dd": frozenset({"dt", "dd"}),
    "option": frozenset({"option", "optgroup"}),
    "td": _CELL_ENDS,
    "th": _CELL_ENDS,
    "tr": _CELL_ENDS - {"td", "th"},
}
"""Elements whose end tag may be left out, and the start tags that end them."""


@dataclass(frozen=True, slots=True)
class Text:
    """Text as it is written, entities and all, to be translated. `spaces_count` is for `<pre>`."""

    raw: str
    spaces_count: bool


class _Elements:
    """The elements that are open, and whether their text is translated."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._translated = [True]
        self._count: Counter[str] = Counter()

    @property
    def translated(self) -> bool:
        return self._translated[-1]

    @property
    def in_pre(self) -> bool:
        return self._count["pre"] > 0

    def start(self, name: str, attributes: str) -> None:
        while self._names and name in _ENDED_BY.get(self._names[-1], ()):
            self._pop()
        if name not in _VOID and not attributes.endswith("/"):
            self._names.append(name)
            self._count[name] += 1
            self._translated.append(_translated(attributes, self.translated))

    def end(self, name: str) -> None:
        if self._count[name]:
            while self._pop() != name:
                pass

    def _pop(self) -> str:
        name = self._names.pop()
        self._count[name] -= 1
        self._translated.pop()
        return name


def _translated(attributes: str, inherited: bool) -> bool:
    if "translate" not in attributes.lower():  # "notranslate" has it too
        return inherited
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(attributes):
        found.setdefault(match[1].lower(), (match[2] or "").strip("\"'").lower())
    if "notranslate" in found.get("class", "").split():
        return False
    return {"no": False, "yes": True, "": True}.get(found.get("translate", "-"), inherited)


def take_apart(html: str) -> Iterator[str | Text]:
    """Markup and texts in turn; joined, their sources are `html`."""
    elements = _Elements()
    for start, end, tag in _runs(html):
        if tag is None:
            if elements.translated:
                yield Text(html[start:end], elements.in_pre)
                continue
        elif tag[1]:
            elements.end(tag[2].lower())
        elif tag[2]:
            elements.start(tag[2].lower(), tag[3])
        yield html[start:end]


_MARKUP = re.match("()()()", "")
"""Stands for markup that opens and closes nothing."""


def _runs(html: str) -> Iterator[tuple[int, int, re.Match[str] | None]]:
    """(start, end, match) of each tag, other piece of markup (`_MARKUP`) or text (None)."""
    text, at, size = 0, 0, len(html)
    while (at := html.find("<", at)) >= 0:
        end, tag = _markup_at(html, at)
        if end == at:  # a "<" that begins nothing is text
            at += 1
            continue
        if text < at:
            yield text, at, None
        yield at, end, tag
        text = at = end
        if tag is not None and not tag[1] and (closing := _RAW.get(tag[2].lower())) is not None:
            found = closing.search(html, end)
            text = at = found.start() if found else size
            if end < at:
                yield end, at, _MARKUP
    if text < size:
        yield text, size, None


def _markup_at(html: str, at: int) -> tuple[int, re.Match[str] | None]:
    """Where the markup that begins at `at` ends, which is `at` itself if none does, and its match."""
    follows = html[at + 1 : at + 2]
    if follows in _LETTERS or (follows == "/" and html[at + 2 : at + 3] in _LETTERS):
        tag = _TAG.match(html, at)
        return (len(html), _MARKUP) if tag is None else (tag.end(), tag)
    if html.startswith("<!--", at):
        comment = _COMMENT.match(html, at)
        return (len(html) if comment is None else comment.end()), _MARKUP
    if follows in ("!", "?") or (follows == "/" and at + 2 < len(html)):
        end = html.find(">", at)
        return (len(html) if end < 0 else end + 1), _MARKUP
    return at, None
