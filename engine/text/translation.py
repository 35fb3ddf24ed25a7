"""Text around an encoder-decoder: which languages it translates, and how texts become its tokens and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.checkpoint import Checkpoint
from engine.errors import CheckpointError, InvalidRequest
from engine.models.seq2seq import seq2seq_family_of
from engine.seq2seq.request import Decoding
from engine.text.translation_defaults import read_defaults

Pair = tuple[str, str]  # codes of source and target language

UNBOUNDED_LENGTH = 512  # source tokens where the model itself sets no bound


class Codec(Protocol):
    """One family's way from text to tokens and back. Picklable."""

    @property
    def pairs(self) -> tuple[Pair, ...]: ...

    def encode(self, text: str, source: str, target: str) -> tuple[list[int], int | None]:
        """The source's tokens with the special ones, and the target's first token where the model wants one."""

    def encode_target(self, text: str, source: str, target: str) -> list[int]:
        """What the model would have to generate for this translation, end token included."""

    def decode(self, tokens: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class TranslationText:
    """What the front door needs of a translation model. Picklable.

    `max_source_tokens` is the longest source, special tokens included.
    """

    pairs: tuple[Pair, ...]
    max_source_tokens: int
    decoding_defaults: Decoding
    codec: Codec
    _known: frozenset[Pair] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", frozenset(self.pairs))

    def encode(self, text: str, source: str, target: str) -> tuple[tuple[int, ...], int | None]:
        """The tokens of one sentence, and the first token to force. Raises InvalidRequest for other languages and for
        text that is no valid Unicode."""
        if (source, target) not in self._known:
            raise InvalidRequest(self._refusal(source, target), param="target")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                f"The text is not valid Unicode: a lone surrogate (U+{ord(text[error.start]):04X}) at character "
                f"{error.start}. Send characters beyond U+FFFF whole.",
                param="q",
            ) from None
        tokens, first = self.codec.encode(text, source, target)
        return tuple(tokens), first

    def encode_target(self, text: str, source: str, target: str) -> tuple[int, ...]:
        """The tokens that the model would have to generate for this translation, the end token among them."""
        return tuple(self.codec.encode_target(text, source, target))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of generated tokens; special ones are left out."""
        return self.codec.decode(tokens)

    def _refusal(self, source: str, target: str) -> str:
        targets = sorted({to for origin, to in self.pairs if origin == source})
        if targets:
            return f"this model does not translate from {source} to {target}, but to {shortened(targets)}"
        sources = sorted({origin for origin, _ in self.pairs})
        return f"this model does not translate from {source}, but from {shortened(sources)}"


def shortened(codes: Sequence[str], most: int = 40) -> str:
    """The codes as a list for people, cut where it is long."""
    rest = f" and {len(codes) - most} more" if len(codes) > most else ""
    return ", ".join(codes[:most]) + rest


def open_translation_text(
    checkpoint: Checkpoint, pairs: Sequence[Pair] | None = None, prefix: str | None = None
) -> TranslationText:
    """Reads a model's tokenizer files. `pairs` replaces the languages that the files name, `prefix` the words that a T5
    wants before each text. Raises CheckpointError where files are missing, or the languages cannot be known."""
    family = checkpoint.config.get("model_type")
    arch = seq2seq_family_of(checkpoint.config).architecture(checkpoint.config)
    given = None if pairs is None else tuple(dict.fromkeys(pairs))
    codec = _codec(checkpoint, str(family), given, prefix)
    if not codec.pairs:
        raise CheckpointError(f"{checkpoint.path}: {NO_LANGUAGES}")
    limit = arch.encoder.max_positions or UNBOUNDED_LENGTH
    defaults = read_defaults(checkpoint, codec.pairs, arch.decoder.max_positions)
    return TranslationText(codec.pairs, limit, defaults, codec)


NO_LANGUAGES = (
    "the files do not say between which languages the model translates. Set them in the configuration, for example "
    "languages: [en-de]"
)


def _codec(checkpoint: Checkpoint, family: str, pairs: tuple[Pair, ...] | None, prefix: str | None) -> Codec:
    from engine.text import translation_m2m, translation_marian, translation_plain, translation_t5

    if family == "marian" and (checkpoint.path / "source.spm").exists():
        return translation_marian.open_codec(checkpoint, pairs)
    if family in ("t5", "mt5"):
        return translation_t5.open_codec(checkpoint, pairs, prefix)
    if family in ("m2m_100", "mbart"):
        return translation_m2m.open_codec(checkpoint, pairs)
    return translation_plain.open_codec(checkpoint, pairs)
