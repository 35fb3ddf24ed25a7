"""Requests at the limits of what may be asked, and just beyond: the longest prompts, the most answers, stop strings and
biases, grammars and expressions that take for ever to compile or to follow."""

from __future__ import annotations

import json
import time
from typing import Any

from deployments.attacks.outcome import Outcome
from deployments.attacks.raw import completion, exchange, request, statuses
from deployments.attacks.scene import Scene

MOST_S = 60.0  # for one that asks for work; the honest ones run beside it
DEADLINE = {"x-request-timeout-seconds": "45"}  # or what may take for ever would, by right
_REFUSED, _ANSWERED, _EITHER = (400, 413), (200,), (200, 400, 408, 413, 503)

Asked = tuple[str, dict[str, Any], tuple[int, ...]]


def generation(context: int) -> list[Asked]:
    """What is asked of a model with a context of so many tokens: name, fields, right statuses."""
    return [
        ("the longest prompt", {"prompt": [100] * (context - 2), "max_tokens": 1}, _ANSWERED),
        ("a token more than fits", {"prompt": [100] * context, "max_tokens": 1}, _REFUSED),
        ("7 MB of text", {"prompt": "word " * 1_400_000}, _REFUSED),
        ("7 MB without a space", {"prompt": "x" * 7_000_000}, _REFUSED),
        ("an empty prompt", {"prompt": ""}, _EITHER),
        ("no prompts", {"prompt": []}, _REFUSED),
        ("a prompt of minus one", {"prompt": [-1]}, _REFUSED),
        ("a token beyond the vocabulary", {"prompt": [1 << 30]}, _REFUSED),
        ("128 answers", {"n": 128, "max_tokens": 1, "temperature": 1.0}, _EITHER),
        ("129 answers", {"n": 129}, _REFUSED),
        ("2^31 - 1 answers", {"n": (1 << 31) - 1}, _REFUSED),
        ("256 prompts", {"prompt": [[100]] * 256, "max_tokens": 1}, _EITHER),
        ("257 prompts", {"prompt": [[100]] * 257, "max_tokens": 1}, _REFUSED),
        ("10,000 prompts", {"prompt": [[100]] * 10_000}, _REFUSED),
        ("64 stop strings", {"stop": [f"stop {n}" for n in range(64)]}, _ANSWERED),
        ("65 stop strings", {"stop": [f"stop {n}" for n in range(65)]}, _REFUSED),
        ("a stop string of 1 MB", {"stop": "x" * 1_000_000}, _REFUSED),
        ("an empty stop string", {"stop": [""]}, _REFUSED),
        ("stop strings in each other", {"stop": ["a" * n for n in range(1, 60)]}, _ANSWERED),
        ("1,024 biases", {"logit_bias": {str(n): -100 for n in range(1024)}}, _ANSWERED),
        ("1,025 biases", {"logit_bias": {str(n): 1 for n in range(1025)}}, _REFUSED),
        ("a bias for no token", {"logit_bias": {"x": 1}}, _REFUSED),
        ("a bias for token 2^62", {"logit_bias": {str(1 << 62): 1}}, _REFUSED),
        ("21 logprobs", {"logprobs": 21}, _REFUSED),
        ("a thousand tokens at least of two", {"min_tokens": 1000}, _REFUSED),
        ("100,000 tokens", {"max_tokens": 100_000}, _EITHER),
        *[(name, {"guided_regex": regex}, _EITHER) for name, regex in EXPRESSIONS],
        *[(name, {"guided_json": schema}, _EITHER) for name, schema in SCHEMAS],
        ("10,000 choices", {"guided_choice": [f"choice {n}" for n in range(10_000)]}, _EITHER),
        ("a choice of nothing", {"guided_choice": []}, _REFUSED),
    ]


EXPRESSIONS = (
    ("nested repeats", "(((a+)+)+)+b"),
    ("a million repeats", "a{1000000}"),
    ("repeats of repeats", "((a{1000}){1000}){1000}"),
    ("an expression of 60 KB", "(a|b|c)?" * 7_500),
    ("brackets 5,000 deep", "(" * 5_000 + "a" + ")" * 5_000),
    ("brackets that are open", "(" * 100),
    ("a reference back", r"(a)\1"),
    ("a look ahead", "(?=a)(?!b)a"),
    ("all of Unicode, often", "[\\u0000-\\U0010ffff]{500}"),
    ("a zero byte", "a\0b"),
)

SCHEMAS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("a schema that is itself", {"$ref": "#"}),
    ("a schema of itself twice", {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}),
    (
        "2^30 alternatives",
        {"type": "array", "items": {"anyOf": [{"const": n} for n in range(30)]}, "maxItems": 1 << 30},
    ),
    ("a thousand properties", {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(1000)}}),
    ("a text of 10^9 characters", {"type": "string", "minLength": 10**9}),
    ("numbers up to 10^300", {"type": "integer", "minimum": 0, "maximum": 10**300}),
    ("a pattern that backtracks", {"type": "string", "pattern": "^((a+)+)+$"}),
    ("a foreign schema", {"$ref": "file:///etc/passwd"}),
    ("a schema on the web", {"$ref": "http://127.0.0.1:1/schema"}),
)


async def attack(scene: Scene) -> Outcome:
    """One after another, so that each one's time is its own."""
    shown = next(one for one in scene.status()["models"] if one["name"] == scene.generator)
    told: dict[str, Any] = next(iter(shown["variants"][0]["replicas"]), {})
    context = int(told.get("max_model_len") or 2048)
    outcome, each = Outcome(), {}
    for name, fields, right in generation(context):
        data = request(scene, body=completion(scene, **fields), headers=DEADLINE)
        each[name] = await _one(scene, outcome, name, data, right)
    for name, path, fields, right in texts():
        task = "translation" if path == "/translate" else "text-classification"
        if task in scene.models:
            body = json.dumps({"model": scene.models[task], **fields}).encode()
            each[name] = await _one(scene, outcome, name, request(scene, path=path, body=body, headers=DEADLINE), right)
    outcome.seen = {"context": context, "requests": each}
    return outcome


def texts() -> list[tuple[str, str, dict[str, Any], tuple[int, ...]]]:
    """The same of the models that answer texts: name, path, fields, right statuses."""
    pair = {"source": "en", "target": "de"}
    return [
        ("2,049 texts to classify", "/classify", {"input": ["x"] * 2049}, _REFUSED),
        ("4 MB to classify", "/classify", {"input": "word " * 900_000}, _EITHER),
        ("nothing to classify", "/classify", {"input": []}, _REFUSED),
        ("257 KB to translate", "/translate", {"q": "word " * 60_000, **pair}, _REFUSED),
        ("20,000 sentences", "/translate", {"q": " ".join(f"No {n}." for n in range(20_000)), **pair}, _REFUSED),
        ("a word of 100 KB", "/translate", {"q": "x" * 100_000, **pair}, _EITHER),
        ("tags 50,000 deep", "/translate", {"q": "<b>" * 50_000, "format": "html", **pair}, _EITHER),
        ("a language that is none", "/translate", {"q": "x", "source": "../en", "target": "\0"}, _REFUSED),
    ]


async def _one(scene: Scene, outcome: Outcome, name: str, data: bytes, right: tuple[int, ...]) -> dict[str, Any]:
    began = time.monotonic()
    found = statuses(await exchange(scene, data, timeout_s=MOST_S + 5))
    took = time.monotonic() - began
    status = found[0] if found else 0
    outcome.check(
        status in right, f"{name}: answered {status or 'nothing'} where {' or '.join(map(str, right))} was due"
    )
    outcome.check(took <= MOST_S, f"{name}: took {took:.0f} s")
    return {"status": status, "seconds": round(took, 1)}
