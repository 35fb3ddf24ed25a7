"""Marian's tokens: SentencePiece models of source and target, and a vocabulary of its own over their pieces.

A model for several target languages wants one of its `>>xx<<` tokens before the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sentencepiece import SentencePieceProcessor

from engine.checkpoint import Checkpoint
from engine.errors import CheckpointError
from engine.text.languages import known_code, short_code
from engine.text.sentencepiece_files import load_pieces, load_vocabulary, tokenizer_settings

Pair = tuple[str, str]

END, UNKNOWN, PADDING = "</s>", "<unk>", "<pad>"


@dataclass(frozen=True)
class MarianCodec:
    """`marks` are the tokens that ask for a target language, {} where there is only one."""

    pairs: tuple[Pair, ...]
    source: SentencePieceProcessor
    target: SentencePieceProcessor
    vocabulary: dict[str, int]
    target_vocabulary: dict[str, int]
    pieces: dict[int, str]
    marks: dict[str, int]
    special: frozenset[int]

    def encode(self, text: str, source: str, target: str) -> tuple[list[int], int | None]:
        unknown = self.vocabulary[UNKNOWN]
        tokens = [self.marks[target]] if target in self.marks else []
        tokens += [self.vocabulary.get(piece, unknown) for piece in self.source.encode(text, out_type=str)]
        return [*tokens, self.vocabulary[END]], None

    def encode_target(self, text: str, source: str, target: str) -> list[int]:
        known, unknown = self.target_vocabulary, self.target_vocabulary.get(UNKNOWN)
        tokens = [known.get(piece, unknown) for piece in self.target.encode(text, out_type=str)]
        return [*(token for token in tokens if token is not None), known[END]]

    def decode(self, tokens: Sequence[int]) -> str:
        pieces = [self.pieces[token] for token in tokens if token in self.pieces and token not in self.special]
        text: str = self.target.decode_pieces(pieces)
        return text.replace("\u2581", " ").strip()


def open_codec(checkpoint: Checkpoint, pairs: tuple[Pair, ...] | None) -> MarianCodec:
    """Reads source.spm, target.spm, vocab.json, and target_vocab.json where the vocabularies are separate."""
    folder = checkpoint.path
    settings = tokenizer_settings(folder)
    vocabulary = load_vocabulary(folder / "vocab.json")
    separate = bool(settings.get("separate_vocabs"))
    target = load_vocabulary(folder / "target_vocab.json") if separate else vocabulary
    for name, found in (("vocab.json", vocabulary), ("target vocabulary", target)):
        if END not in found or (found is vocabulary and UNKNOWN not in found):
            raise CheckpointError(f"{folder}: the {name} has no {END} or {UNKNOWN}. Fetch it again.")
    marks = _marks(vocabulary)
    known = _pairs(settings.get("source_lang"), settings.get("target_lang"), marks) if pairs is None else pairs
    if marks and (missing := sorted({to for _, to in known} - marks.keys())):
        raise CheckpointError(
            f"{folder}: the model has no token for the target {missing[0]}; it has {', '.join(sorted(marks))}"
        )
    return MarianCodec(
        pairs=known,
        source=load_pieces(folder / "source.spm"),
        target=load_pieces(folder / "target.spm"),
        vocabulary=vocabulary,
        target_vocabulary=target,
        pieces={token: piece for piece, token in target.items()},
        marks=marks,
        special=frozenset(target[piece] for piece in (END, UNKNOWN, PADDING) if piece in target),
    )


def _marks(vocabulary: dict[str, int]) -> dict[str, int]:
    """The `>>xx<<` tokens by language; of several scripts or regions of one the first."""
    found: dict[str, int] = {}
    for piece, token in vocabulary.items():
        if piece.startswith(">>") and piece.endswith("<<") and (code := short_code(piece[2:-2])) is not None:
            found.setdefault(code, token)
    return found


def _pairs(source: object, target: object, marks: dict[str, int]) -> tuple[Pair, ...]:
    """() where the files do not tell, or name a family of languages."""
    origin = known_code(source) if isinstance(source, str) else None
    if origin is None:
        return ()
    if marks:
        return tuple((origin, to) for to in sorted(marks) if to != origin)
    to = known_code(target) if isinstance(target, str) else None
    return () if to is None else ((origin, to),)
