"""Markdown and HTML of the same blocks. Texts come from servers: none of them may become more than text."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from loadtest.report.blocks import Block, Heading, Listing, Paragraph, Picture, Table
from loadtest.report.html import to_html
from loadtest.report.markdown import escaped, to_markdown

EVIL = "<script>alert(1)</script> | `x` [click](http://h) **b** \" ' &amp;\nnext"


class Reader(HTMLParser):
    """Which elements there are, which texts, which addresses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def blocks(text: str) -> list[Block]:
    return [
        Heading(text, 1),
        Paragraph(text),
        Paragraph(text, alarm=True),
        Listing((text, "second")),
        Table((text, "ms"), ((text, "12"), ("b", text))),
    ]


def test_markdown() -> None:
    shown: list[Block] = [
        Heading("Figures"),
        Paragraph("All is well."),
        Paragraph("It is not.", alarm=True),
        Listing(("one", "two")),
        Table(("", "p50"), (("TTFT", "12.0 [11.0, 13.0]"),)),
        Table(("", ""), (("date", "today"),), figures=False),
        Picture("timeline.png", "Over time."),
    ]
    assert to_markdown(shown) == (
        "## Figures\n\nAll is well.\n\n> **It is not.**\n\n- one\n- two\n\n"
        "|  | p50 |\n|---|---:|\n| TTFT | 12.0 [11.0, 13.0] |\n\n"
        "|  |  |\n|---|---|\n| date | today |\n\n![Over time.](timeline.png)\n"
    )


def test_markdown_of_evil_texts_is_text() -> None:
    assert escaped(EVIL) == (
        r"&lt;script&gt;alert(1)&lt;/script&gt; \| \`x\` [click\](http://h) \*\*b\*\* " + "\" ' &amp;amp; next"
    )
    page = to_markdown(blocks(EVIL))
    assert "<" not in page
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in table} == {3}


def test_html_of_evil_texts_is_text(tmp_path: Path) -> None:
    read = Reader(to_html(blocks(EVIL), tmp_path, EVIL))
    assert "script" not in read.tags
    assert "a" not in read.tags
    assert read.texts.count(EVIL) == 8, "all of them, and the page's title"


@given(st.text())
def test_html_gives_back_any_text(text: str) -> None:
    read = Reader(to_html([Paragraph(text)], Path(), "t"))
    told = "".join(read.texts).partition("\n\n\n")[2]
    assert read.tags.count("p") == 1
    assert text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "") in told.replace("\r\n", "\n").replace(
        "\r", "\n"
    ).replace("\0", "")


def test_html_asks_nobody_for_anything(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(b"\x89PNG picture")
    read = Reader(to_html([Picture("p.png", 'a "caption"'), *blocks("plain")], tmp_path, "t"))
    assert read.sources == ["data:image/png;base64," + base64.b64encode(b"\x89PNG picture").decode()]
    assert 'a "caption"' in read.texts
    assert "link" not in read.tags
