"""HTML is taken apart without losing a character, finds the texts that the standard library's parser finds, and
takes time in proportion to its length."""

from __future__ import annotations

from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.front_door.translation.markup import Text, take_apart


def texts_of(html: str) -> list[str]:
    return [part.raw for part in take_apart(html) if isinstance(part, Text)]


PIECES = st.sampled_from(
    ["<p>", "</p>", "<b class='x'>", "</b>", "<br/>", "<script>", "</script>", "<style>", "</style >", "<!--", "-->",
     "<!-->", "--!>", "<!DOCTYPE html>", '<a href="x>y">', "<a href='", "</a", "<", ">", "</", "<>", "</>", "<1",
     "&amp;", "&nope;", "&#x41", "&", "text", " two words. ", "\n", "=", '"', "'", "<?php", "<![CDATA[", "]]>",
     "<p translate=no>", "<i class=notranslate>", "</i>", "<textarea>", "</TEXTAREA>", "\x00", "\U0001f389", "<title>",
     "<pre>", "</pre>"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join) | st.text(alphabet="<>/!-='\" ab&;", max_size=40))
def test_every_character_is_in_one_part(html: str) -> None:
    assert "".join(part.raw if isinstance(part, Text) else part for part in take_apart(html)) == html


class Reference(HTMLParser):
    """The texts of well-formed HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.raw = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.raw += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.raw -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self.raw:
            self.found.append(data)


TEXTS = st.text(alphabet="ab .&;é\n\"'=/", min_size=1, max_size=12).map(lambda text: text.replace("&", "&amp;"))
ATTRIBUTES = st.lists(
    st.sampled_from([' id="a>b"', " href='<i>'", " hidden", " data-x=1", ' title="&quot;"', " a = 'b'", "\n"]),
    max_size=3,
).map("".join)
NAMES = st.sampled_from(["div", "b", "custom-tag", "H1", "span"])


def _element(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda name, attributes, content: f"<{name}{attributes}>{''.join(content)}</{name}>",
        NAMES, ATTRIBUTES, st.lists(inner, max_size=3),
    )  # fmt: skip


LEAVES = TEXTS | st.sampled_from(
    ["<!-- a <b> -->", "<br>", "<img src='x'/>", "<script>if (a<b) '</b>';</script>", "<style>p>a{}</style>"]
)
PAGES = st.lists(st.recursive(LEAVES, _element, max_leaves=12), max_size=4).map("".join)


@settings(max_examples=150, deadline=None)
@given(PAGES)
def test_texts_are_those_of_the_standard_parser(html: str) -> None:
    reference = Reference()
    reference.feed(html)
    reference.close()
    assert unescape("".join(texts_of(html))) == "".join(reference.found)


@pytest.mark.parametrize(
    ("html", "texts"),
    [
        ("<p>Hi <b>there</b>!</p>", ["Hi ", "there", "!"]),
        ("<p translate='no'>a</p>b", ["b"]),
        ("<p translate=NO>a<i>b</i></p>c", ["c"]),
        ("<div translate=no>a<b translate=yes>b</b>c</div>d", ["b", "d"]),
        ("<div translate='no'>a<b translate>b</b></div>", ["b"]),
        ('<span class="x notranslate y">a</span>b', ["b"]),
        ('<span class="notranslated">a</span>', ["a"]),
        ('<a title="translate=no">a</a>', ["a"]),
        ("<p translate=no>a<p>b", ["b"]),
        ("<ul><li translate=no>a<li>b</ul>c", ["b", "c"]),
        ("<table><tr><td translate=no>a<td>b</table>", ["b"]),
        ("<br translate=no>a", ["a"]),
        ("<span translate=no />a", ["a"]),
        ("<div translate=no>a</b></p>b</div>c", ["c"]),
        ("<b><i translate=no>a</b>b", ["b"]),
        ("<SCRIPT>a</b>c</Script >b", ["b"]),
        ("<script>a</scripty>b</script>c", ["c"]),
        ("<script>never ends", []),
        ("<title>a</title>", ["a"]),
        ("a <!-- b --> c<!-->d<!--->e", ["a ", " c", "d", "e"]),
        ("a<!-- b --!>c", ["a", "c"]),
        ("a <!-- never ends", ["a "]),
        ("1 < 2 && 3 > 2", ["1 < 2 && 3 > 2"]),
        ("a<b", ["a"]),
        ("a</", ["a</"]),
        ("a</>b</ b>c", ["a", "b", "c"]),
        ("a<?php x ?>b<!bogus>c", ["a", "b", "c"]),
        ("<a b='never ends>text</a>", []),
        ("<a b=c'd>e</a>", ["e"]),
        ("", []),
    ],
)  # fmt: skip
def test_texts(html: str, texts: list[str]) -> None:
    assert texts_of(html) == texts


def test_spaces_count_in_pre() -> None:
    parts = [part for part in take_apart("a<pre>b<b>c</b></pre>d") if isinstance(part, Text)]
    assert [part.spaces_count for part in parts] == [False, True, True, False]


@pytest.mark.parametrize(
    "piece",
    ["<!--", "<a ", "<a", "<", "</", "<!", "<![", "<?", "&", "<a b='", "<script>", "</script ", "<b>", "</b>", "<p>",
     '<a b="x" ', '<a b="x>" ', "<a =", "<a b= ", "<!-- -", "<textarea></t"],
)  # fmt: skip
def test_bad_input_takes_linear_time(piece: str) -> None:
    # Quadratic time would be many minutes here, and the suite's own limit its end.
    html = piece * (500_000 // len(piece))
    assert sum(len(part.raw if isinstance(part, Text) else part) for part in take_apart(html)) == len(html)
