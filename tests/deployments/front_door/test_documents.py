"""Texts and pages come apart into sentences and together again."""

from __future__ import annotations

from html import unescape
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.front_door.translation.documents import Passage, Sentences, put_together
from deployments.front_door.translation.markup import Text, take_apart
from engine.errors import InvalidRequest
from tests.deployments.front_door.test_markup import PAGES, PIECES
from tests.deployments.front_door.translation_fakes import ByteText, FakeTranslator, translator


def sentences(**text: Any) -> Sentences:
    model = translator(FakeTranslator(), text=ByteText(**text))
    return Sentences(model, "en", "de", most=10_000)


def shown(found: Sentences) -> list[str]:
    return [bytes(tokens[:-1]).decode() for tokens, _ in found.encoded]


def test_what_lies_between_sentences_is_kept() -> None:
    found = sentences()
    document = found.text("  One two.\n\n Three?  *** \n\t Four ")
    assert shown(found) == ["One two.", "Three?", "Four"]
    assert put_together(document, lambda index: f"<{index}>") == "  <0>\n\n <1>  *** \n\t <2> "


@pytest.mark.parametrize("text", ["", " ", "\n\n", "---", "🎉 !", "\u00a0", "\x00"])
def test_texts_without_words_pass_through(text: str) -> None:
    found = sentences()
    document = found.text(text)
    assert found.encoded == []
    assert put_together(document, lambda index: "wrong") == text


def test_long_sentences_are_cut_at_clauses_then_spaces_then_anywhere() -> None:
    found = sentences(max_source_tokens=21)
    found.text("aaaa bbb cccc, dddd eeee ffff")
    assert shown(found) == ["aaaa bbb cccc,", "dddd eeee ffff"]
    found = sentences(max_source_tokens=21)
    found.text("aaaa bbbb cccc dddd eeee ffff")
    assert shown(found) == ["aaaa bbbb cccc", "dddd eeee ffff"]
    found = sentences(max_source_tokens=21)
    found.text("x" * 60)
    assert [len(one) for one in shown(found)] == [15] * 4


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab ,.;\n\u00e9\U0001f600\x00", max_size=120), st.integers(5, 30))
def test_a_text_translated_to_itself_is_itself(text: str, most: int) -> None:
    found = sentences(max_source_tokens=most)
    document = found.text(text)
    assert all(len(tokens) <= most for tokens, _ in found.encoded)
    assert put_together(document, shown(found).__getitem__) == text


def test_a_character_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="single character"):
        sentences(max_source_tokens=2).text("aé")


def test_too_many_sentences_are_refused() -> None:
    model = translator(FakeTranslator())
    found = Sentences(model, "en", "de", most=3)
    found.text("One! Two! Three!")
    with pytest.raises(InvalidRequest, match="more than 3 sentences"):
        found.text("Four!")


def test_a_long_text_takes_little_time() -> None:
    # Cutting that looks at the whole rest again for each sentence would take minutes.
    found = Sentences(translator(FakeTranslator()), "en", "de", most=100_000)
    document = found.text("word, " * 40_000)
    assert put_together(document, shown(found).__getitem__) == "word, " * 40_000


@settings(max_examples=150, deadline=None)
@given(PAGES | st.lists(PIECES, max_size=25).map("".join))
def test_a_page_translated_to_itself_is_itself(page: str) -> None:
    found = sentences()
    document = found.html(page)
    assert put_together(document, shown(found).__getitem__) == page


@settings(max_examples=100, deadline=None)
@given(PAGES | st.lists(PIECES, max_size=25).map("".join))
def test_a_translation_changes_no_markup(page: str) -> None:
    """Translated to something with every special character in it, a page has the same tags, and as many texts."""
    found = sentences()
    result = put_together(found.html(page), lambda index: f"<b>{index}&lt;&'\"")
    before = [part for part in take_apart(page) if isinstance(part, str) and part]
    after = [part for part in take_apart(result) if isinstance(part, str) and part]
    assert after == before
    assert result.count("&lt;b&gt;") == len(found.encoded)


def test_pages() -> None:
    found = sentences()
    page = (
        '<div class="a">\n  Tom &amp; Jerry\n  went <b>home</b>.  They slept. <!-- no -->'
        "<script>var a = 'no';</script><p translate=no>Name &copy;</p>&nbsp;<img alt='no'><pre>a\n  b</pre></div>"
    )
    document = found.html(page)
    assert shown(found) == ["Tom & Jerry went", "home", "They slept.", "a", "b"]
    assert put_together(document, lambda index: shown(found)[index].upper()) == (
        '<div class="a">\n  TOM &amp; JERRY WENT <b>HOME</b>. THEY SLEPT. <!-- no -->'
        "<script>var a = 'no';</script><p translate=no>Name &copy;</p>&nbsp;<img alt='no'><pre>A\n  B</pre></div>"
    )


def test_entities_stay_where_nothing_changed() -> None:
    found = sentences()
    page = "<p>caf&eacute; &lt;&nbsp;&#x41;</p>"
    document = found.html(page)
    assert put_together(document, shown(found).__getitem__) == page
    assert unescape(put_together(document, lambda index: "\u00e9<")) == "<p>é<</p>"


def test_passages_cover_the_texts() -> None:
    page = "<p> a <b>b</b> c </p>"
    raws = [part.raw for part in sentences().html(page) if isinstance(part, Passage)]
    texts = [part.raw.strip() for part in take_apart(page) if isinstance(part, Text)]
    assert raws == [text for text in texts if text]
