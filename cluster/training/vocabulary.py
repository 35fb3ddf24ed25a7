"""A joint SentencePiece vocabulary, as the files that a Marian tokenizer reads."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path

from engine.errors import ConfigError

EOS, UNK, PAD = "</s>", "<unk>", "<pad>"
_MAX_SENTENCE_BYTES = 16_384


def train_pieces(lines: Iterable[str], size: int, *, seed: int) -> bytes:
    """A unigram model of `size` pieces over all characters of the lines. Raises `ConfigError` if they are too few."""
    import sentencepiece

    out = io.BytesIO()
    sentencepiece.set_random_generator_seed(seed)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=out,
            model_type="unigram",
            vocab_size=size,
            character_coverage=1.0,
            max_sentence_length=_MAX_SENTENCE_BYTES,
            bos_id=-1,
            eos_id=0,
            unk_id=1,
            eos_piece=EOS,
            unk_piece=UNK,
            num_threads=1,  # more would add up the pieces' scores in an order of their own
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ConfigError(
            f"No vocabulary of {size} pieces can be made of this text: {_plain(error)} Choose a "
            "smaller --vocabulary, or give more text.",
            param="vocabulary",
        ) from error
    return out.getvalue()


def write_marian_tokenizer(folder: Path, pieces: bytes, *, source_lang: str, target_lang: str, longest: int) -> None:
    """One model for both languages. `<pad>` comes last: that is where converters of Marian models expect it."""
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(pieces)
    processor = sentencepiece.SentencePieceProcessor(model_proto=pieces)
    vocabulary = {processor.id_to_piece(number): number for number in range(processor.get_piece_size())}
    vocabulary[PAD] = len(vocabulary)
    _write_json(folder / "vocab.json", vocabulary)
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "MarianTokenizer",
            "source_lang": source_lang,
            "target_lang": target_lang,
            "model_max_length": longest,
            "eos_token": EOS,
            "unk_token": UNK,
            "pad_token": PAD,
            "separate_vocabs": False,
        },
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _plain(error: RuntimeError) -> str:
    """SentencePiece's message without its place in the source."""
    return str(error).rpartition("] ")[2].rstrip(". ") + "."
