"""Translations by `transformers`, for quality and for a teacher's outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

_ROWS = 64
_LONGEST = 256


def translate_all(
    model: Any,
    tokenizer: Any,
    sources: Sequence[str],
    *,
    device: torch.device,
    beams: int = 1,
    done: Callable[[list[int], list[str]], None] | None = None,
) -> list[str]:
    """The translations, in order. Sentences of like length go together; `done` is told of each group.

    Sources and translations end after 256 tokens, or where the model has no more positions.
    """
    longest = min(_LONGEST, positions_of(model))
    order = sorted(range(len(sources)), key=lambda index: len(sources[index]))
    out = [""] * len(sources)
    for start in range(0, len(order), _ROWS):
        group = order[start : start + _ROWS]
        batch = tokenizer(
            [sources[index] for index in group], return_tensors="pt", padding=True, truncation=True, max_length=longest
        )
        rows = model.generate(
            **batch.to(device), num_beams=beams, do_sample=False, max_length=longest, **_target_of(tokenizer)
        )
        texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
        for index, text in zip(group, texts, strict=True):
            out[index] = text
        if done is not None:
            done(group, texts)
    return out


def positions_of(model: Any) -> int:
    """How many tokens a side may have; models with relative positions have no limit."""
    return int(getattr(model.config, "max_position_embeddings", None) or 1 << 30)


def translation_quality(translations: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """sacrebleu's BLEU and chrF with their default settings."""
    import sacrebleu

    return {
        "bleu": round(sacrebleu.corpus_bleu(list(translations), [list(references)]).score, 2),
        "chrf": round(sacrebleu.corpus_chrf(list(translations), [list(references)]).score, 2),
    }


def set_languages(tokenizer: Any, languages: tuple[str, str]) -> None:
    """Multilingual tokenizers (M2M100, NLLB, mBART) begin each side with its language's code."""
    if hasattr(tokenizer, "set_src_lang_special_tokens"):
        tokenizer.src_lang, tokenizer.tgt_lang = languages


def _target_of(tokenizer: Any) -> dict[str, int]:
    """The first token of the answer, for tokenizers that name the target language with it."""
    language = getattr(tokenizer, "tgt_lang", None)
    if language is None or not hasattr(tokenizer, "set_src_lang_special_tokens"):
        return {}
    if hasattr(tokenizer, "get_lang_id"):
        return {"forced_bos_token_id": int(tokenizer.get_lang_id(language))}
    return {"forced_bos_token_id": int(tokenizer.convert_tokens_to_ids(language))}
