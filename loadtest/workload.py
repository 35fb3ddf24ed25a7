"""What request number n asks: drawn from the scenario's seed and n alone, whoever sends it and whenever."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from loadtest.errors import LoadTestError
from loadtest.scenario import GENERATING, Kind, Length, Range, Requests, Scenario

PATHS: dict[Kind, str] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "classify": "/classify",
    "embeddings": "/v1/embeddings",
    "translate": "/translate",
}
OWN_LENGTH = {"max_tokens", "max_completion_tokens", "ignore_eos", "n", "stop"}  # keys with which a body has its own
TEXTS = Path(__file__).parent / "texts"
OURS: dict[Kind, str] = {"classify": "customers.txt", "embeddings": "customers.txt", "translate": "sentences.txt"}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, ready to be sent. `items` is how many texts it has, `exact_tokens` how many tokens its answer must
    have (0: any number)."""

    number: int
    kind: Kind
    model: str
    path: str
    body: bytes
    items: int
    exact_tokens: int = 0


def ask(scenario: Scenario, number: int, prompt_tokens: int | None = None, output_tokens: int | None = None) -> Ask:
    """Request `number`; the lengths are a trace's own. Raises LoadTestError for texts that cannot be read."""
    draw = random.Random(f"{scenario.seed}/{number}")
    (chosen,) = draw.choices(scenario.requests, [one.weight for one in scenario.requests])
    if chosen.kind in GENERATING:
        prompt = " ".join(draw.choices(words(), k=prompt_tokens or _length(chosen.prompt_tokens, draw)))
        body = _generation(chosen, prompt, output_tokens or _length(chosen.output_tokens, draw), number)
    else:
        found = texts(chosen.texts or TEXTS / OURS[chosen.kind])
        body = _texts(chosen, [draw.choice(found) for _ in range(chosen.batch)])
    generating = chosen.kind in GENERATING
    return Ask(
        number,
        chosen.kind,
        chosen.model,
        PATHS[chosen.kind],
        json.dumps({**body, **chosen.body}, ensure_ascii=False).encode(),
        items=1 if generating else chosen.batch,
        exact_tokens=body["max_tokens"] if generating and chosen.exact and not OWN_LENGTH & chosen.body.keys() else 0,
    )


def _length(length: Length, draw: random.Random) -> int:
    return draw.randint(length.low, length.high) if isinstance(length, Range) else length


def _generation(chosen: Requests, prompt: str, tokens: int, number: int) -> dict[str, Any]:
    body: dict[str, Any] = {"model": chosen.model, "max_tokens": tokens, "temperature": 0, "seed": number}
    if chosen.kind == "chat":
        body["messages"] = [{"role": "user", "content": prompt}]
    else:
        body["prompt"] = prompt
    if chosen.exact:
        body["ignore_eos"] = True
    if chosen.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def _texts(chosen: Requests, found: Sequence[str]) -> dict[str, Any]:
    given = found[0] if len(found) == 1 else list(found)
    if chosen.kind == "translate":
        return {"q": given, "source": chosen.source, "target": chosen.target, "model": chosen.model}
    return {"model": chosen.model, "input": given}


@cache
def words() -> tuple[str, ...]:
    """Common English words, of which most tokenizers make one token each."""
    return tuple((TEXTS / "words.txt").read_text(encoding="utf-8").split())


@cache
def texts(path: Path) -> tuple[str, ...]:
    """The lines of a file. Raises LoadTestError where there are none."""
    try:
        found = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise LoadTestError(f"{path}: the texts cannot be read: {error}.") from None
    if not found:
        raise LoadTestError(f"{path}: there is no text in it. Write one a line.")
    return found
