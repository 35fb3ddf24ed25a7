"""The wrapper: encoding, decoding, single tokens, pickling, and the files of a folder."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import CheckpointError, InvalidRequest
from engine.text.tokenizer import Tokenizer
from engine.text.tokenizer_files import load_tokenizer
from tests.engine.text.small_tokenizers import KINDS, SAMPLES, byte_level, metaspace, sentencepiece


@pytest.mark.parametrize("text", SAMPLES)
def test_round_trip(text: str) -> None:
    for tokenizer in (byte_level(), sentencepiece()):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", ["\ud800", "good \udfff bad", "\ud83d\ud83d\ude42"])
def test_lone_surrogates_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="lone surrogate"):
        byte_level().encode(text)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(), max_size=10))  # surrogates included
def test_any_text_is_encoded_or_refused(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(InvalidRequest):
            byte_level().encode(text)
    else:
        assert byte_level().decode(byte_level().encode(text), skip_special_tokens=False) == text


def test_special_tokens() -> None:
    tokenizer = sentencepiece()
    assert tokenizer.encode("the")[0] == tokenizer.bos_token_id == 1
    assert 1 not in tokenizer.encode("the", add_special_tokens=False)
    assert tokenizer.eos_token_ids == (2,)
    assert tokenizer.special_tokens == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    assert tokenizer.decode([1, 2], skip_special_tokens=False) == "<s></s>"
    assert tokenizer.decode([1, 2]) == ""


def test_single_tokens() -> None:
    spm, bpe = sentencepiece(), byte_level()
    assert spm.token_bytes(3 + 0xE4) == b"\xe4"
    assert spm.token_text(3 + 0xE4) == "\ufffd"
    the = spm.backend.token_to_id("▁the")
    assert the is not None
    assert (spm.token_text(the), spm.token_bytes(the)) == (" the", b" the")
    assert bpe.token_bytes(1) == "<|héllo wörld|>".encode()
    assert bpe.token_bytes(100_000) == b""
    assert bpe.decode([100_000]) == ""
    assert metaspace().token_text(1) == "</s>"


@pytest.mark.parametrize("ids", [[-1], [2**32], [2**70]])
def test_impossible_ids_are_refused(ids: list[int]) -> None:
    for kind in KINDS.values():
        with pytest.raises(InvalidRequest, match="Token ids"):
            kind().decode(ids)
        with pytest.raises(InvalidRequest, match="Token ids"):
            kind().token_bytes(ids[0])


@pytest.mark.parametrize("kind", KINDS)
def test_pickling(kind: str) -> None:
    tokenizer = KINDS[kind]()
    again = pickle.loads(pickle.dumps(tokenizer))
    for text in SAMPLES:
        assert again.encode(text) == tokenizer.encode(text)
    for name in ("eos_token_ids", "bos_token_id", "chat_template", "special_tokens", "vocab_size", "special_ids"):
        assert getattr(again, name) == getattr(tokenizer, name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    byte_level().backend.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def load(folder: Path, settings: dict[str, Any] | None = None, **configs: dict[str, Any]) -> Tokenizer:
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return load_tokenizer(folder, configs.get("config", {}), configs.get("generation_config", {}))


def test_folder(folder: Path) -> None:
    tokenizer = load(folder, {"eos_token": {"content": "<|end|>"}, "bos_token": None, "chat_template": "x"})
    assert tokenizer.special_tokens == {"eos_token": "<|end|>"}
    assert tokenizer.eos_token_ids == (0,)
    assert tokenizer.bos_token_id is None
    assert tokenizer.chat_template == "x"
    for text in SAMPLES:
        assert tokenizer.encode(text) == byte_level().encode(text)


def test_end_tokens_come_from_all_files(folder: Path) -> None:
    settings = {"eos_token": "<|end|>"}
    assert load(folder, settings, config={"eos_token_id": 5}).eos_token_ids == (5, 0)
    generation = {"eos_token_id": [7, 0]}
    assert load(folder, settings, config={"eos_token_id": 5}, generation_config=generation).eos_token_ids == (7, 0)
    assert load(folder, {}, config={"eos_token_id": None, "bos_token_id": 3}).bos_token_id == 3
    with pytest.raises(CheckpointError, match="eos_token_id is 'x'"):
        load(folder, {}, config={"eos_token_id": "x"})


def test_chat_templates(folder: Path) -> None:
    assert load(folder).chat_template is None
    several = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    assert load(folder, {"chat_template": several}).chat_template == "d"
    assert load(folder, {"chat_template": several[:1]}).chat_template == "t"
    (folder / "chat_template.jinja").write_text("from its own file")
    assert load(folder).chat_template == "from its own file"


def test_chat_template_of_a_wrong_kind(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="chat_template"):
        load(folder, {"chat_template": 3})


def test_cutting_and_padding_are_off(folder: Path) -> None:
    plain = load(folder).encode(SAMPLES[4])
    backend = load(folder).backend
    backend.enable_truncation(2)
    backend.enable_padding(length=50)
    backend.save(str(folder / "tokenizer.json"))
    assert load(folder).encode(SAMPLES[4]) == plain


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "no valid JSON"), ("{}", "no usable tokenizer"), ('{"model": {"type": "?"}}', "no usable tokenizer")],
)
def test_broken_files(folder: Path, content: str, message: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load(folder)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json.*save_pretrained"):
        load(tmp_path)
