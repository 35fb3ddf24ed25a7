"""Splitting a text into sentences, and a long sentence into parts that a model can take.

By rules alone: what ends a sentence in the scripts of the world, unless an abbreviation, a number or a small letter
behind it says otherwise. Where in doubt nothing is split: a piece of two sentences does no harm. Every text is the
sum of its pieces, and the work is linear in its length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ENDS = frozenset(".!?…‼⁇⁈⁉؟۔।॥։።፧᙮။៕꓿")
ENDS_AT_ONCE = frozenset("。！？｡．")  # scripts that put no space between sentences
CLOSERS = frozenset("\"'”’»›)]}）」』】〉》”’›»«“‘")  # may follow the end of a sentence and belong to it
OPENERS = frozenset("\"'“‘«‹([{（「『【〈《„‚»›¿¡-–—•*")  # may precede the first letter of one
BREAKS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
CLAUSE_ENDS = frozenset(",;:،؛–—)")
CLAUSE_ENDS_AT_ONCE = frozenset("，、；：")

# Before a full stop that does not end a sentence, in small letters.
_ABBREVIATIONS = """
mr mrs ms dr prof st jr sr rev hon gen col sgt capt lt cmdr adm gov sen rep pres vs etc no nos vol ed eds fig figs al
approx dept est inc ltd co corp bros jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun
e.g i.e a.m p.m u.s u.k u.n ph.d cf ca pp p ch sec art nr hr fr hrn frl bzw usw z.b d.h u.a o.ä s.o s.u v.a i.d.r
evtl ggf inkl exkl max min mio mrd tel str abs abb bd jh jhd vgl zzgl geb gest dipl ing phil m mme mlle mm me av
p.ex c.-à-d env sra sres srta dña ud uds ee.uu pág págs ej p.ej avv dott sig sigg ecc prof.ssa ir drs mej dhr mw
bijv enz resp т.е т.д т.п г гг в вв стр им проф др руб тыс млн млрд
"""
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())
_LONGEST_ABBREVIATION = max(map(len, ABBREVIATIONS))


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text to translate, and the white space behind it, which stays as it is."""

    text: str
    after: str


def split_sentences(text: str) -> list[Piece]:
    """The sentences of a text. `text` is the sum of the pieces' texts and of what is after them."""
    start = at = _behind_space(text, 0)
    pieces = [Piece("", text[:at])] if at else []
    while at < len(text):
        character = text[at]
        if character in BREAKS:
            end = at
        elif character in ENDS or character in ENDS_AT_ONCE:
            end = _behind(text, at)
            if not _ends_here(text, at, end):
                at = end
                continue
        else:
            at += 1
            continue
        at = _behind_space(text, end)
        pieces.append(_piece(text, start, end, at))
        start = at
    if start < len(text):
        pieces.append(_piece(text, start, len(text), len(text)))
    return pieces


def split_to_fit(text: str, size: Callable[[str], int], limit: int) -> list[Piece]:
    """Parts of at most `limit` by `size`, cut in halves at the end of a clause, else at a space, else anywhere.

    A single character that is larger than the limit is left as it is.
    """
    done: list[Piece] = []
    todo = [Piece(text, "")]
    while todo:
        piece = todo.pop()
        if len(piece.text) < 2 or size(piece.text) <= limit:
            done.append(piece)
            continue
        cut = _behind_space(piece.text, _middle(piece.text))
        left, right = piece.text[:cut], piece.text[cut:]
        body = left.rstrip()
        space = left[len(body) :]
        if right:
            todo.append(Piece(right, piece.after))
        else:
            space += piece.after
        if body:
            todo.append(Piece(body, space))
        else:
            done.append(Piece("", space))
    return done


def _piece(text: str, start: int, end: int, after: int) -> Piece:
    """From `start` to `end` without the white space at its end, which counts to what is after it, up to `after`."""
    body = text[start:end].rstrip()
    return Piece(body, text[start + len(body) : after])


def _behind(text: str, at: int) -> int:
    """Behind a run of sentence ends and what closes around them."""
    while at < len(text) and (text[at] in ENDS or text[at] in ENDS_AT_ONCE):
        at += 1
    while at < len(text) and text[at] in CLOSERS:
        at += 1
    return at


def _behind_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _ends_here(text: str, at: int, end: int) -> bool:
    """Whether the run of sentence ends from `at` to `end` ends a sentence."""
    if any(character in ENDS_AT_ONCE for character in text[at:end]):
        return True
    if end == len(text):
        return True
    if not text[end].isspace():
        return False
    following = _behind_space(text, end)
    if any(character in BREAKS for character in text[end:following]):
        return True
    while following < len(text) and text[following] in OPENERS:
        following += 1
    if following < len(text) and text[following].islower():
        return False
    return text[at] != "." or text[at : at + 2] == ".." or not _abbreviated(text, at)


def _abbreviated(text: str, stop: int) -> bool:
    """Whether the full stop at `stop` belongs to the word before it: an abbreviation, an initial, an ordinal."""
    start = stop
    while start > 0 and stop - start <= _LONGEST_ABBREVIATION and not text[start - 1].isspace():
        start -= 1
    word = text[start:stop].lstrip("".join(OPENERS))
    if len(word) == 1 and (word.isupper() or word.isdigit()):
        return True
    if len(word) == 2 and word.isdigit():
        return True
    return word.lower() in ABBREVIATIONS


def _middle(text: str) -> int:
    """Where to cut: behind the clause end or the space nearest to the middle, within its half of the text."""
    middle = len(text) // 2
    reach = len(text) // 4
    for wanted in (CLAUSE_ENDS, None):
        for away in range(reach + 1):
            for place in (middle - away, middle + away):
                before, behind = text[place - 1 : place], text[place : place + 1]
                if behind.isspace() and (wanted is None or before in wanted):
                    return place
                if wanted is not None and before in CLAUSE_ENDS_AT_ONCE:
                    return place
    return max(middle, 1)
