"""M2M100, NLLB and mBART: the source's language is a token before the text, the target's the first that is forced."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sentencepiece import SentencePieceProcessor

from engine.checkpoint import Checkpoint
from engine.errors import CheckpointError
from engine.text.json_files import read_json_object
from engine.text.languages import short_code
from engine.text.sentencepiece_files import load_pieces, load_vocabulary, tokenizer_settings
from engine.text.tokenizer import Tokenizer

Pair = tuple[str, str]

# __de__ (M2M100), deu_Latn (NLLB), de_DE (mBART)
_LANGUAGE = re.compile(r"__([a-z]{2,3})__|([a-z]{3}_[A-Z][a-z]{3})|([a-z]{2}_[A-Z]{2})")

END, UNKNOWN = "</s>", "<unk>"

# M2M100's languages in the order of their tokens, which lie behind vocab.json where no file says otherwise.
M2M100_LANGUAGES = """
af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu hy id ig
ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt ro ru sd si sk sl so
sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu
"""


class Words(Protocol):
    """Text without special tokens."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, tokens: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class JsonWords:
    """A tokenizer.json."""

    tokenizer: Tokenizer

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(tokens)


@dataclass(frozen=True)
class PieceWords:
    """sentencepiece.bpe.model with the vocabulary vocab.json."""

    processor: SentencePieceProcessor
    vocabulary: dict[str, int]
    pieces: dict[int, str]

    def encode(self, text: str) -> list[int]:
        unknown = self.vocabulary[UNKNOWN]
        return [self.vocabulary.get(piece, unknown) for piece in self.processor.encode(text, out_type=str)]

    def decode(self, tokens: Sequence[int]) -> str:
        special = ("<s>", "<pad>", END, UNKNOWN)
        text: str = self.processor.decode([p for t in tokens if (p := self.pieces.get(t)) and p not in special])
        return text


@dataclass(frozen=True)
class M2MCodec:
    """`languages` maps the codes that callers use to the languages' tokens.

    `given` are the pairs to offer; without them, from every language to every other.
    """

    words: Words
    languages: dict[str, int]
    end: int
    given: tuple[Pair, ...] | None = None
    pairs: tuple[Pair, ...] = field(init=False)

    def __post_init__(self) -> None:
        every = ((source, target) for source in self.languages for target in self.languages if source != target)
        object.__setattr__(self, "pairs", tuple(every) if self.given is None else self.given)

    def encode(self, text: str, source: str, target: str) -> tuple[list[int], int | None]:
        return [self.languages[source], *self.words.encode(text), self.end], self.languages[target]

    def encode_target(self, text: str, source: str, target: str) -> list[int]:
        return [self.languages[target], *self.words.encode(text), self.end]

    def decode(self, tokens: Sequence[int]) -> str:
        marks = set(self.languages.values())
        return self.words.decode([token for token in tokens if token not in marks]).strip()


def open_codec(checkpoint: Checkpoint, pairs: tuple[Pair, ...] | None) -> M2MCodec:
    """Reads tokenizer.json, or sentencepiece.bpe.model with vocab.json."""
    folder = checkpoint.path
    words: Words
    if (folder / "tokenizer.json").exists():
        tokenizer = checkpoint.tokenizer()
        words = JsonWords(tokenizer)
        added = {token.content: i for i, token in tokenizer.backend.get_added_tokens_decoder().items()}
        end = tokenizer.backend.token_to_id(END)
    else:
        vocabulary = load_vocabulary(folder / "vocab.json")
        pieces = {token: piece for piece, token in vocabulary.items()}
        words = PieceWords(load_pieces(folder / "sentencepiece.bpe.model"), vocabulary, pieces)
        added = _added_tokens(checkpoint, len(vocabulary))
        end = vocabulary.get(END)
        if UNKNOWN not in vocabulary:
            end = None
    if end is None:
        raise CheckpointError(f"{folder}: the vocabulary has no {END} or {UNKNOWN}. Fetch the tokenizer again.")
    languages = _languages(added)
    if not languages:
        raise CheckpointError(f"{folder}: the tokenizer's files name no tokens of languages. Fetch them again.")
    for code in (code for pair in pairs or () for code in pair):
        if code not in languages:
            raise CheckpointError(f"{folder}: the model has no language {code}; it has {', '.join(languages)}")
    return M2MCodec(words, languages, end, pairs)


def _languages(tokens: dict[str, int]) -> dict[str, int]:
    """Languages by the code of two letters; a second script or region of one keeps its own code."""
    found: dict[str, int] = {}
    for token, number in sorted(tokens.items(), key=lambda entry: entry[1]):
        match = _LANGUAGE.fullmatch(token)
        if match is None:
            continue
        own = match[1] or match[2] or match[3]
        code = short_code(own) or own
        found[own if code in found else code] = number
    return found


def _added_tokens(checkpoint: Checkpoint, first: int) -> dict[str, int]:
    """The tokens beside vocab.json: named with their ids, or in order behind it."""
    folder = checkpoint.path
    settings = tokenizer_settings(folder)
    found: dict[str, int] = {}
    if (folder / "added_tokens.json").exists():
        found |= load_vocabulary(folder / "added_tokens.json")
    decoder = settings.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        found |= {t["content"]: int(i) for i, t in decoder.items() if isinstance(t, dict) and "content" in t}
    if _languages(found):
        return found
    names: Any = settings.get("additional_special_tokens") or settings.get("extra_special_tokens")
    special = folder / "special_tokens_map.json"
    if not names and special.exists():
        names = read_json_object(special).get("additional_special_tokens")
    listed = [name["content"] if isinstance(name, dict) else name for name in names or ()]
    marks = [name for name in listed if isinstance(name, str) and _LANGUAGE.fullmatch(name)]
    if not marks and settings.get("language_codes", "m2m100") == "m2m100":
        marks = [f"__{code}__" for code in M2M100_LANGUAGES.split()]
    return {name: first + place for place, name in enumerate(marks)}
