"""Small tokenizers of every kind, made without any files."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from engine.text.gguf_tokenizer import build_tokenizer
from engine.text.tokenizer import Tokenizer

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and it's 1984 times faster than you'd think.",
    "Größe, naïve café; 你好世界 こんにちは 안녕 Привет мир नमस्ते",
    "def f(x):\n    return x ** 2  # \t tabs and   spaces\r\n\r\n",
    "emoji 🙂👩‍👩‍👧‍👦🏳️‍🌈 and numbers 3.14159, 10,000 and ½ ² ٣",
] * 4

# Varied text to hold one tokenizer against another.
SAMPLES = [
    "",
    " ",
    "Hello world",
    " leading and trailing ",
    "  two  spaces   three",
    "1 12 123 1234 12345678 3.14 10,000 ½ ² ٣٤ ⅷ",
    "it's I'LL you'd WE'VE 'tis",
    "a\nb\r\nc\n\n\nd\t\te\v\f",
    "def f(x):\n    if x:\n\t\treturn {'a': [1, 2]}\n\n\n",
    "Größe naïve café cafe\u0301 ﬁ Å",
    "你好，世界。こんにちは 안녕하세요 Привет नमस्ते שלום مرحبا",
    "🙂 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 e\u0301\u0301\u0301",
    "\u00a0non\u2009breaking\u3000space\u200b\u200d\ufeff",
    "\x00\x01\x7f\x80\x9f\ufffd\U0010ffff",
    "https://example.org/a?b=c&d=%20#e",
    "!!!??? ...--- *** ((())) <html> </p> $x_1^2$",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "mIxEd CaSe UPPERlower CamelCase snake_case kebab-case",
]


@functools.cache
def byte_level() -> Tokenizer:
    """Byte-level BPE with special and other added tokens, one of them outside the byte alphabet."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        show_progress=False,
        special_tokens=["<|end|>", "<|héllo wörld|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_tokens(["<tool>", "two words"])
    return Tokenizer(backend, eos_token_ids=[0], special_tokens={"eos_token": "<|end|>"})


def sentencepiece_metadata() -> dict[str, Any]:
    """GGUF metadata of a SentencePiece BPE vocabulary with byte fallback."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "<tool>"]
    kinds = [2, 3, 3, *[6] * 256, 4]
    words = ["▁the", "▁quick", "the", "qu", "ick", "▁qu", "▁▁", "▁t", "he", "▁h", "ell", "▁hell", "▁hello", "ö", "世界"]
    letters = sorted({character for text in CORPUS for character in text.replace(" ", "▁") if character.isalpha()})
    normal = list(dict.fromkeys([*words, *letters, "▁", ".", ",", "ck", "ic", "el", "ll", "lo"]))
    scores = [0.0] * len(pieces) + [-float(i) for i in range(len(normal))]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces + normal,
        "tokenizer.ggml.token_type": kinds + [1] * len(normal),
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


@functools.cache
def sentencepiece() -> Tokenizer:
    return build_tokenizer(sentencepiece_metadata(), Path("sentencepiece.gguf"))


@functools.cache
def metaspace() -> Tokenizer:
    """A unigram vocabulary whose decoder is no plain joining of bytes: the first token loses its space."""
    backend = Backend(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, show_progress=False, special_tokens=["<unk>", "</s>"], unk_token="<unk>"
    )
    backend.train_from_iterator(CORPUS, trainer)
    return Tokenizer(backend, eos_token_ids=[1])


@functools.cache
def wordpiece() -> Tokenizer:
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=200, show_progress=False, special_tokens=["[UNK]", "[SEP]"])
    backend.train_from_iterator(CORPUS, trainer)
    return Tokenizer(backend, eos_token_ids=[1])


KINDS = {"byte_level": byte_level, "sentencepiece": sentencepiece, "metaspace": metaspace, "wordpiece": wordpiece}
