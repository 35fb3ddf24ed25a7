"""Tokenizers from GGUF metadata, held against the ones that transformers makes of the same vocabularies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from engine.errors import CheckpointError
from engine.text.gguf_tokenizer import build_tokenizer
from engine.text.pretokenizers import PRE_TOKENIZATIONS
from engine.text.tokenizer import Tokenizer
from tests.engine.text.small_tokenizers import SAMPLES, byte_level, sentencepiece, sentencepiece_metadata

HERE = Path("model.gguf")


def vocabulary() -> tuple[list[str], list[str]]:
    """Tokens and merges of the small byte-level tokenizer, as a GGUF file holds them."""
    backend = byte_level().backend
    model = json.loads(backend.to_str())["model"]
    ids = backend.get_vocab(with_added_tokens=True)
    merges = [" ".join(merge) for merge in model["merges"]]
    return sorted(ids, key=lambda token: ids[token]), merges


def byte_level_metadata(pre: str | None, **more: Any) -> dict[str, Any]:
    tokens, merges = vocabulary()
    kinds = [3 if token in ("<|end|>", "<|héllo wörld|>") else 1 for token in tokens]
    kinds[-2:] = [4, 4]
    metadata = {"model": "gpt2", "tokens": tokens, "merges": merges, "token_type": kinds, "eos_token_id": 0}
    metadata |= ({} if pre is None else {"pre": pre}) | more
    return {f"tokenizer.ggml.{key}": value for key, value in metadata.items()}


def build(pre: str | None, **more: Any) -> Tokenizer:
    return build_tokenizer(byte_level_metadata(pre, **more), HERE)


def with_pre_tokenizer(pre_tokenizer: Any, **options: Any) -> Backend:
    """The same vocabulary in a tokenizer.json, as its family has it."""
    tokens, merges = vocabulary()
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    backend = Backend(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=pairs, **options))
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|end|>", "<|héllo wörld|>"])
    backend.add_tokens(["<tool>", "two words"])
    return backend


ADDED = ["a<|end|>b", " <tool> two words", "<|héllo wörld|>!"]


@pytest.mark.parametrize("text", SAMPLES + ADDED)
def test_gpt2(text: str) -> None:
    assert build("gpt-2").encode(text) == byte_level().encode(text)
    assert build("gpt-2").decode(byte_level().encode(text), False) == text


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=40))
def test_gpt2_on_any_text(text: str) -> None:
    assert build("gpt-2").encode(text) == byte_level().encode(text)


@pytest.mark.parametrize("text", SAMPLES + ADDED)
def test_smollm_cuts_digits_singly(text: str) -> None:
    """SmolLM2's own tokenizer.json: single digits, then GPT-2's pattern."""
    parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    assert build("smollm").encode(text) == with_pre_tokenizer(pre_tokenizers.Sequence(parts)).encode(text).ids


@pytest.mark.parametrize("text", SAMPLES)
def test_qwen2(text: str) -> None:
    tokens, merges = vocabulary()
    theirs = transformers.Qwen2Tokenizer(
        vocab={token: i for i, token in enumerate(tokens)}, merges=[tuple(merge.split(" ")) for merge in merges]
    )
    assert build("qwen2").encode(text) == theirs.encode(text)


def from_file(folder: Path, metadata: dict[str, Any]) -> Any:
    """What transformers makes of a GGUF file with this metadata."""
    writer = gguf.GGUFWriter(folder / "x.gguf", "llama")
    for key, value in metadata.items():
        if key == "tokenizer.ggml.scores":
            writer.add_token_scores(value)
        elif isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_uint32(key, value)
    writer.add_tensor("token_embd.weight", np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return transformers.AutoTokenizer.from_pretrained(folder, gguf_file="x.gguf")


@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe", "tekken", "gpt-4o", "dbrx"])
def test_byte_level_kinds_equal_transformers(tmp_path: Path, pre: str) -> None:
    metadata = byte_level_metadata(pre)
    # transformers takes a control token with characters outside the byte alphabet for a mistake.
    metadata["tokenizer.ggml.token_type"][1] = 1
    theirs, ours = from_file(tmp_path, metadata), build_tokenizer(metadata, HERE)
    for text in SAMPLES:
        assert ours.encode(text, add_special_tokens=False) == theirs.encode(text, add_special_tokens=False), text


def test_sentencepiece_equals_transformers(tmp_path: Path) -> None:
    theirs, ours = from_file(tmp_path, sentencepiece_metadata()), sentencepiece()
    for text in SAMPLES:
        # Metaspace, which transformers uses here, puts no space before text that begins with one.
        if text and not text.startswith(" "):
            assert ours.encode(text) == theirs.encode(text), text
            assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text), skip_special_tokens=True)


def test_sentencepiece_spaces() -> None:
    tokenizer = sentencepiece()

    def tokens(text: str) -> list[str | None]:
        return [tokenizer.backend.id_to_token(i) for i in tokenizer.encode(text, add_special_tokens=False)]

    assert tokens("the") == ["▁the"]
    assert tokens(" the") == ["▁▁", "the"]
    assert tokens("the quick") == ["▁the", "▁quick"]
    assert tokens("\x07") == ["▁", "<0x07>"]
    assert tokens("</s>the") == ["</s>", "▁the"]
    assert tokens("the<tool>") == ["▁the", "<tool>"]


def test_sentencepiece_without_the_leading_space() -> None:
    metadata = sentencepiece_metadata() | {"tokenizer.ggml.add_space_prefix": False}
    tokenizer = build_tokenizer(metadata, HERE)
    assert tokenizer.encode("the") == [1, tokenizer.backend.token_to_id("the")]
    assert tokenizer.decode(tokenizer.encode(" the")) == " the"


def test_merges_in_the_file_come_before_scores() -> None:
    metadata = sentencepiece_metadata() | {"tokenizer.ggml.merges": ["t he"]}
    tokens = build_tokenizer(metadata, HERE)
    assert [tokens.backend.id_to_token(i) for i in tokens.encode("the")] == ["<s>", "▁", "t", "h", "e"]
    metadata = sentencepiece_metadata() | {"tokenizer.ggml.merges": ["h e", "t he"]}
    tokens = build_tokenizer(metadata, HERE)
    assert [tokens.backend.id_to_token(i) for i in tokens.encode("the")] == ["<s>", "▁", "the"]


@pytest.mark.parametrize(
    ("pre", "more", "ends"),
    [
        ("gpt-2", {}, (None, None)),
        ("gpt-2", {"add_bos_token": True}, (1, None)),
        ("llama-bpe", {}, (1, None)),
        ("llama-bpe", {"add_bos_token": False}, (None, None)),
        ("gpt-2", {"add_eos_token": True, "add_bos_token": True}, (1, 0)),
    ],
)
def test_ends(pre: str, more: dict[str, Any], ends: tuple[int | None, int | None]) -> None:
    tokenizer = build(pre, bos_token_id=1, **more)
    plain = tokenizer.encode("a b", add_special_tokens=False)
    first, last = ([] if end is None else [end] for end in ends)
    assert tokenizer.encode("a b") == [*first, *plain, *last]


def test_what_the_file_says_about_special_tokens() -> None:
    tokenizer = build("gpt-2", bos_token_id=1, eot_token_id=5, eom_token_id=0)
    assert tokenizer.special_tokens == {"bos_token": "<|héllo wörld|>", "eos_token": "<|end|>"}
    assert tokenizer.bos_token_id == 1
    assert tokenizer.eos_token_ids == (0, 5)
    assert tokenizer.chat_template is None
    metadata = byte_level_metadata("gpt-2") | {"tokenizer.chat_template": "hello"}
    assert build_tokenizer(metadata, HERE).chat_template == "hello"


def test_ids_are_those_of_the_file() -> None:
    tokens, _ = vocabulary()
    tokenizer = build("gpt-2")
    assert tokenizer.vocab_size == len(tokens)
    assert [tokenizer.backend.id_to_token(i) for i in range(len(tokens))] == tokens


@pytest.mark.parametrize("pre", PRE_TOKENIZATIONS)
@pytest.mark.parametrize("text", SAMPLES)
def test_every_kind_loses_nothing(pre: str, text: str) -> None:
    tokenizer = build(pre)
    expected = text if not PRE_TOKENIZATIONS[pre].nfc else tokenizer.backend.normalizer.normalize_str(text)
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == expected


def test_missing_pre_is_the_default() -> None:
    assert build(None).encode("12345, abc") == build("default").encode("12345, abc")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pre": "unheard-of"}, "unknown way 'unheard-of'.*Known: .*llama-bpe.*smollm"),
        ({"pre": ["gpt-2"]}, "unknown way"),
        ({"model": "bert"}, "kind 'bert'; gpt2 and llama"),
        ({"model": None}, "no tokenizer"),
        ({"tokens": []}, "no tokenizer"),
        ({"tokens": [1, 2]}, "no list of texts"),
        ({"merges": ["a b c"]}, "not two tokens"),
        ({"merges": ["ab"]}, "not two tokens"),
        ({"merges": ["a zzzzz"]}, "no usable tokenizer"),
        ({"eos_token_id": 10_000}, "eos_token_id is 10000"),
        ({"bos_token_id": -1}, "bos_token_id is -1"),
        ({"model": "llama", "merges": [], "scores": [1.0]}, "not one number for each"),
        ({"model": "llama", "merges": []}, "not one number for each"),
    ],
)
def test_damaged_metadata(changes: dict[str, Any], message: str) -> None:
    metadata = byte_level_metadata("gpt-2") | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    with pytest.raises(CheckpointError, match=message):
        build_tokenizer(metadata, HERE)
