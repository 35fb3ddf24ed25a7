"""How far two servers' answers to the same questions agree. Pure, but for sacrebleu."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.record import Record

Pair = tuple[str, str]  # the baseline's answer and the optimized one's


def pairs(asked: Mapping[int, str], baseline: Sequence[Record], optimized: Sequence[Record]) -> dict[str, Pair]:
    """Answers to the same question, by the question; `asked` tells what each request's number asked."""
    theirs = {asked[record.number]: record.text for record in baseline if not record.failure}
    ours = {asked[record.number]: record.text for record in optimized if not record.failure}
    return {question: (theirs[question], ours[question]) for question in theirs if question in ours}


def agreement(task: str, found: Sequence[Pair]) -> dict[str, float | int]:
    """Figures of the task (`TASKS` of `works`), with how many different questions both were asked. Empty for none."""
    if not found:
        return {}
    return {
        "count": len(found),
        **{"generation": same_texts, "classification": same_labels, "translation": same_translations}[task](found),
    }


def same_texts(found: Sequence[Pair]) -> dict[str, float]:
    """The share of texts that are the same, and of words before the first that differs."""
    same = words = 0
    for one, other in found:
        theirs, ours = one.split(), other.split()
        first = next(
            (i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), min(len(theirs), len(ours))
        )
        same += first
        words += max(len(theirs), len(ours))
    return {"same_texts": sum(a == b for a, b in found) / len(found), "same_words": same / words if words else 1.0}


def same_labels(found: Sequence[Pair]) -> dict[str, float]:
    """The share of texts that both give the same label."""
    return {"same_labels": sum(labels(a) == labels(b) for a, b in found) / len(found)}


def same_translations(found: Sequence[Pair]) -> dict[str, float]:
    """BLEU and chrF of the optimized translations with the baseline's as the reference; the share that is the same."""
    import sacrebleu

    theirs, ours = ([translation(pair[side]) for pair in found] for side in (0, 1))
    return {
        "bleu": float(sacrebleu.corpus_bleu(ours, [theirs]).score),
        "chrf": float(sacrebleu.corpus_chrf(ours, [theirs]).score),
        "same_texts": sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(found),
    }


def labels(answer: str) -> list[str]:
    """Of an answer of `/classify`."""
    return [str(entry["label"]) for entry in json.loads(answer)["data"]]


def translation(answer: str) -> str:
    """Of an answer of `/translate`."""
    found: Any = json.loads(answer)["translatedText"]
    return found if isinstance(found, str) else "\n".join(found)
