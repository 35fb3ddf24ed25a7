"""Data as token ids: nothing is lost between windows, and texts are what callers would send."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.checkpoint import open_checkpoint
from engine.encoder.describe import EncoderInfo
from engine.errors import ConfigError
from engine.quality.samples import opening, sentences, texts, windows
from engine.text.tokenizer import Tokenizer
from engine.text.translation import open_translation_text
from tests.engine.text.small_tokenizers import byte_level, sentencepiece, wordpiece
from tests.engine.text.small_translators import ENGLISH, GERMAN, write_marian

TEXT = "\n".join(ENGLISH * 3)


def test_windows_hold_the_whole_text() -> None:
    tokenizer = Tokenizer(byte_level().backend)
    found = windows(tokenizer, TEXT, 50)
    assert opening(tokenizer) == ()
    assert [token for sample in found for token in sample.tokens] == tokenizer.encode(TEXT, add_special_tokens=False)
    assert {len(sample.tokens) for sample in found[:-1]} == {50}


def test_windows_begin_as_the_models_texts_do() -> None:
    tokenizer = sentencepiece()
    first = opening(tokenizer)
    assert first == (tokenizer.backend.token_to_id("<s>"),)
    found = windows(tokenizer, TEXT, 20)
    assert all(sample.tokens[: len(first)] == first for sample in found)
    assert all(len(sample.tokens) <= 20 for sample in found)


def test_a_text_without_anything_to_predict_is_refused() -> None:
    with pytest.raises(ConfigError, match="too short"):
        windows(Tokenizer(byte_level().backend), "", 50)


def test_texts_are_cut_where_the_model_ends() -> None:
    tokenizer = wordpiece()
    info = EncoderInfo(4, 128, prompt="query: ", lower_case=True)
    found = texts(tokenizer, info, ["A man", "A " * 300], 16)
    assert found[0].tokens == tuple(tokenizer.encode("query: a man"))
    assert len(found[1].tokens) == 16


def test_a_target_starts_with_the_start_token_and_ends_with_the_end(tmp_path: Path) -> None:
    write_marian(tmp_path, source_lang="en", target_lang="de", separate_vocabs=True)
    with open_checkpoint(tmp_path) as checkpoint:
        text = open_translation_text(checkpoint)
    found = sentences(text, ENGLISH, GERMAN, 7, (128, 64))
    for sample, source, target in zip(found, ENGLISH, GERMAN, strict=True):
        assert sample.tokens == text.encode(source, "en", "de")[0]
        assert sample.target[0] == 7
        assert text.decode(sample.target[1:]) == target
    cut = sentences(text, ENGLISH, GERMAN, 7, (3, 4))
    assert {(len(sample.tokens), len(sample.target)) for sample in cut} == {(3, 4)}
