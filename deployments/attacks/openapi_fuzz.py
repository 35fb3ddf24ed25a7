"""Requests made from our own description of the API, right ones and wrong ones: nothing may come but what is described
there, and never a 5xx."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from deployments.attacks.outcome import Outcome
from deployments.attacks.scene import Scene

EXAMPLES = 25  # of each operation, right and wrong ones each
SEED = 8
TIMEOUT_S = 60.0
# What is asked for may be any number of tokens. A deadline keeps that short, and its 408 is described too.
HEADERS = {"x-request-timeout-seconds": "2"}
TASKS = {
    "/classify": "text-classification",
    "/v1/classify": "text-classification",
    "/predict": "text-classification",
    "/translate": "translation",
    "/v1/embeddings": "embedding",
    "/embed": "embedding",
}


def attack(scene: Scene, examples: int = EXAMPLES) -> Outcome:
    """Over HTTP, against a server."""
    try:
        import schemathesis
    except ImportError:
        return Outcome(skipped="schemathesis is not installed: pip install 'stageline[attack]'")
    headers = {**HEADERS, **scene.headers}
    schema = schemathesis.openapi.from_url(f"{scene.url}/openapi.json", headers=dict(scene.headers))
    return ask_all(schema, scene.models, headers, examples)


def ask_all(schema: Any, models: Mapping[str, str], headers: Mapping[str, str], examples: int) -> Outcome:
    """`schema` is schemathesis'; `models` are names by task, put into half of the bodies so that they get further than
    to an unknown model."""
    import schemathesis

    outcome, asked = Outcome(), {}
    for found in schema.get_all_operations():
        operation = found.ok()
        name = f"{operation.method.upper()} {operation.path}"
        model = models.get(TASKS.get(operation.path, "text-generation"))
        statuses: dict[str, int] = {}
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            try:
                _examples(operation, mode, examples, _asking(operation, model, headers, statuses))
            except (Exception, BaseExceptionGroup) as error:
                if type(error).__name__ in ("Unsatisfiable", "NoSuchStrategy", "SkipTest"):
                    continue  # an operation without anything to get wrong
                outcome.faults += [f"{name}: {fault}" for fault in _words(error)]
        asked[name] = dict(sorted(statuses.items()))
    outcome.seen["operations"] = asked
    outcome.seen["requests"] = sum(sum(one.values()) for one in asked.values())
    return outcome


def _asking(
    operation: Any, model: str | None, headers: Mapping[str, str], statuses: dict[str, int]
) -> Callable[[Any], None]:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    draw = random.Random(SEED)

    def ask(case: Any) -> None:
        if isinstance(case.body, dict) and model is not None and draw.random() < 0.5:
            case.body = {**case.body, "model": model}
        response = case.call(headers=dict(headers), timeout=TIMEOUT_S)
        status = str(response.status_code)
        statuses[status] = statuses.get(status, 0) + 1
        case.validate_response(response, checks=checks)

    return ask


def _examples(operation: Any, mode: Any, count: int, ask: Callable[[Any], None]) -> None:
    from hypothesis import HealthCheck, Phase, given, settings

    checked = settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    checked(given(case=operation.as_strategy(generation_mode=mode))(lambda case: ask(case)))()


def _words(error: BaseException) -> list[str]:
    """An error's own words, of groups those of each in it."""
    inside = getattr(error, "exceptions", None)
    if inside:
        return [word for one in inside for word in _words(one)]
    return [f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"]
