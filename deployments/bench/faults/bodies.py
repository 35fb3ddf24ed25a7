"""The requests whose answers must not change: every feature that a stream can have."""

from __future__ import annotations

from typing import Any

_OPENINGS = (
    "Once upon a time",
    "The lighthouse keeper wrote in his journal that",
    "Here is a recipe for bread:",
    "In the year 2150, trains",
    "def quicksort(numbers):",
    "Dear Sir or Madam,",
    "The three most important rules of sailing are",
    "My grandmother's garden",
    "A short history of the bicycle:",
    "The detective looked at the window and",
)
_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 40}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
_KINDS: tuple[dict[str, Any], ...] = (
    {"temperature": 0},
    {"temperature": 0.8, "seed": 1},
    {"temperature": 0, "logprobs": 2},
    {"temperature": 1.0, "top_p": 0.9, "seed": 2, "frequency_penalty": 0.5},
    {"temperature": 0, "repetition_penalty": 1.2},
    {"temperature": 0.9, "top_k": 40, "seed": 3, "presence_penalty": 0.4},
    {"temperature": 0, "stop": ["\n\n", "zebra"], "ignore_eos": False},
    {"temperature": 0.7, "seed": 4, "response_format": {"type": "json_schema", "json_schema": {"schema": _SCHEMA}}},
    {"temperature": 0.9, "min_p": 0.05, "seed": 5, "n": 2},
    {"temperature": 0, "echo": True, "logprobs": 1},
)


def bodies(model: str, count: int, tokens: int) -> list[dict[str, Any]]:
    """`count` bodies for `/v1/completions`, all different, of some `tokens` tokens each; always the same ones."""
    return [_body(model, index, tokens) for index in range(count)]


def _body(model: str, index: int, tokens: int) -> dict[str, Any]:
    kind = _KINDS[index % len(_KINDS)]
    opening = _OPENINGS[(index // len(_KINDS)) % len(_OPENINGS)]
    body = {
        "model": model,
        "prompt": f"{index}. {opening}",
        "max_tokens": tokens + 7 * (index % 9),
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        **kind,
    }
    if "seed" in kind:
        body["seed"] = 1000 * kind["seed"] + index
    return body
