"""A tokenizer from the metadata of a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, decoders, models, normalizers, processors
from tokenizers import Tokenizer as Backend

from engine.errors import CheckpointError
from engine.text.pretokenizers import PRE_TOKENIZATIONS, PreTokenization
from engine.text.tokenizer import Tokenizer

_PREFIX = "tokenizer.ggml."
_SPACE = "\u2581"
_SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


class _Kind(IntEnum):
    """Values of tokenizer.ggml.token_type that matter here."""

    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4


def stop_ids(metadata: Mapping[str, Any]) -> list[int]:
    """The tokens that end a text: end of sequence, of turn, of message, as far as the file names them."""
    found = [metadata.get(f"{_PREFIX}{name}_token_id") for name in ("eos", "eot", "eom")]
    return list(dict.fromkeys(token for token in found if isinstance(token, int)))


def build_tokenizer(metadata: Mapping[str, Any], path: Path) -> Tokenizer:
    """Byte-level BPE (model "gpt2") or SentencePiece BPE (model "llama"). Raises `CheckpointError`."""
    kind = metadata.get(f"{_PREFIX}model")
    tokens = _strings(metadata, "tokens", path)
    if kind is None or not tokens:
        raise CheckpointError(f"{path} has no tokenizer. Use a file that was converted with one.")
    special_ids = {name: _token_id(metadata, key, tokens, path) for name, key in _SPECIAL.items()}
    bos, eos = special_ids["bos_token"], special_ids["eos_token"]
    try:
        if kind == "gpt2":
            pre = _pre_tokenization(metadata, path)
            backend = _byte_level(metadata, tokens, pre, path)
            add_bos = pre.add_bos
        elif kind == "llama":
            backend = _sentencepiece(metadata, tokens, path)
            add_bos = True
        else:
            raise CheckpointError(f"{path} has a tokenizer of kind {kind!r}; gpt2 and llama can be built.")
        _add_tokens(backend, metadata, tokens, special_ids)
        _add_ends(
            backend,
            tokens,
            bos if metadata.get(f"{_PREFIX}add_bos_token", add_bos) else None,
            eos if metadata.get(f"{_PREFIX}add_eos_token", False) else None,
        )
    except CheckpointError:
        raise
    except Exception as error:  # the library raises nothing more particular
        raise CheckpointError(f"{path} holds no usable tokenizer: {error}.") from None
    template = metadata.get("tokenizer.chat_template")
    return Tokenizer(
        backend,
        eos_token_ids=stop_ids(metadata),
        bos_token_id=bos,
        chat_template=template if isinstance(template, str) else None,
        special_tokens={name: tokens[index] for name, index in special_ids.items() if index is not None},
    )


def _byte_level(metadata: Mapping[str, Any], tokens: list[str], pre: PreTokenization, path: Path) -> Backend:
    merges = [_pair(merge, path) for merge in _strings(metadata, "merges", path)]
    model = models.BPE(vocab=_vocabulary(tokens), merges=merges, fuse_unk=False, ignore_merges=pre.ignore_merges)
    backend = Backend(model)
    backend.normalizer = pre.normalizer()
    backend.pre_tokenizer = pre.build()
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentencepiece(metadata: Mapping[str, Any], tokens: list[str], path: Path) -> Backend:
    vocabulary = _vocabulary(tokens)
    unknown = _token_id(metadata, "unknown", tokens, path)
    merges = [_pair(merge, path) for merge in _strings(metadata, "merges", path)] or _merges(
        vocabulary, _scores(metadata, tokens, path)
    )
    unk_token = None if unknown is None else tokens[unknown]
    backend = Backend(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=unk_token, fuse_unk=True, byte_fallback=True)
    )
    # Like SentencePiece, and unlike the library's Metaspace, a space is put before text that begins with one too.
    prefix = bool(metadata.get(f"{_PREFIX}add_space_prefix", True))
    spaces: list[normalizers.Normalizer] = [normalizers.Replace(" ", _SPACE)]
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), *spaces] if prefix else spaces)
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return backend


def _merges(vocabulary: dict[str, int], scores: list[float]) -> list[tuple[str, str]]:
    """The merges that a vocabulary of scored pieces implies: every way to make a piece of two, best piece first."""
    found = [
        (-scores[index], index, cut, token)
        for token, index in vocabulary.items()
        for cut in range(1, len(token))
        if token[:cut] in vocabulary and token[cut:] in vocabulary
    ]
    return [(token[:cut], token[cut:]) for _, _, cut, token in sorted(found)]


def _add_tokens(
    backend: Backend, metadata: Mapping[str, Any], tokens: list[str], special_ids: Mapping[str, int | None]
) -> None:
    """Control tokens and the named special ones are special; user-defined ones are only never cut."""
    kinds = metadata.get(f"{_PREFIX}token_type")
    kinds = kinds if isinstance(kinds, list) else []
    special = {index for index in special_ids.values() if index is not None}
    special |= {index for index, kind in enumerate(kinds[: len(tokens)]) if kind in (_Kind.CONTROL, _Kind.UNKNOWN)}
    texts = [tokens[index] for index in sorted(special) if tokens[index]]
    backend.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in texts])
    texts = [token for token, kind in zip(tokens, kinds, strict=False) if kind == _Kind.USER_DEFINED and token]
    backend.add_tokens([AddedToken(text, normalized=False, special=False) for text in texts])


def _add_ends(backend: Backend, tokens: list[str], bos: int | None, eos: int | None) -> None:
    ends = [(tokens[index], index) for index in dict.fromkeys((bos, eos)) if index is not None]
    if not ends:
        return

    def around(sequence: str) -> list[str]:
        before = [] if bos is None else [tokens[bos]]
        return [*before, f"${sequence}", *([] if eos is None else [tokens[eos]])]

    backend.post_processor = processors.TemplateProcessing(
        single=around("A"), pair=[*around("A"), *around("B")], special_tokens=ends
    )


def _pre_tokenization(metadata: Mapping[str, Any], path: Path) -> PreTokenization:
    name = metadata.get(f"{_PREFIX}pre", "default")
    if not isinstance(name, str) or name not in PRE_TOKENIZATIONS:
        known = ", ".join(sorted(PRE_TOKENIZATIONS))
        raise CheckpointError(f"{path} cuts text in the unknown way {name!r} (tokenizer.ggml.pre). Known: {known}.")
    return PRE_TOKENIZATIONS[name]


def _vocabulary(tokens: list[str]) -> dict[str, int]:
    """Token -> id; the first one of a text that appears twice."""
    return {token: index for index, token in reversed(list(enumerate(tokens)))}


def _pair(merge: str, path: Path) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    if not left or not right or " " in right:
        raise CheckpointError(f"{path}: the merge {merge!r} is not two tokens. The file is damaged.")
    return left, right


def _strings(metadata: Mapping[str, Any], key: str, path: Path) -> list[str]:
    values = metadata.get(f"{_PREFIX}{key}", [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise CheckpointError(f"{path}: {_PREFIX}{key} is no list of texts. The file is damaged.")
    return values


def _scores(metadata: Mapping[str, Any], tokens: list[str], path: Path) -> list[float]:
    scores = metadata.get(f"{_PREFIX}scores")
    if not isinstance(scores, list) or len(scores) != len(tokens) or isinstance(scores[0], str):
        raise CheckpointError(f"{path}: {_PREFIX}scores has not one number for each of {len(tokens)} tokens.")
    return scores


def _token_id(metadata: Mapping[str, Any], name: str, tokens: list[str], path: Path) -> int | None:
    index = metadata.get(f"{_PREFIX}{name}_token_id")
    if index is not None and (type(index) is not int or not 0 <= index < len(tokens)):
        raise CheckpointError(f"{path}: {_PREFIX}{name}_token_id is {index!r}, but there are {len(tokens)} tokens.")
    return index
