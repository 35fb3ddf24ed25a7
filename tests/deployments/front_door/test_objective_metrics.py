from __future__ import annotations

import pytest

from deployments.front_door.objective_metrics import limits_s, missed
from deployments.routing.prediction import Objective
from tests.deployments.front_door.encoder_fakes import FakeEncoder, classifier, service_of
from tests.deployments.front_door.fakes import FakeEngine, make_service
from tests.deployments.front_door.test_operations import LABELS, Samples, client_of, samples_of

STREAMED = Objective(0.5, 0.05)
WHOLE = Objective(0.2)


@pytest.mark.parametrize(
    ("objective", "first_s", "token_s", "expected"),
    [
        (STREAMED, 0.5, 0.05, ()),
        (STREAMED, 0.51, 0.05, ("ttft",)),
        (STREAMED, 0.1, 0.06, ("tpot",)),
        (STREAMED, 1.0, 1.0, ("ttft", "tpot")),
        (STREAMED, 0.1, None, ()),  # one token has no other after it
        (WHOLE, 0.2, None, ()),
        (WHOLE, 0.21, None, ("latency",)),
    ],
)
def test_what_an_answer_misses(
    objective: Objective, first_s: float, token_s: float | None, expected: tuple[str, ...]
) -> None:
    assert missed(objective, first_s, token_s) == expected


def test_what_is_promised() -> None:
    assert limits_s(STREAMED) == {"ttft": 0.5, "tpot": 0.05}
    assert limits_s(WHOLE) == {"latency": 0.2}


def part(name: str, labels: tuple[tuple[str, str], ...] = LABELS) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((*labels, ("part", name))))


async def answered(objective: Objective) -> Samples:
    async with client_of(make_service(FakeEngine(), objective=objective)) as client:
        await client.post("/v1/completions", json={"prompt": "Hi", "max_tokens": 4, "n": 2})
        return samples_of((await client.get("/metrics")).text)


async def test_answers_are_held_against_the_model_s_objective() -> None:
    kept = await answered(Objective(1000.0, 1000.0))
    assert kept["stageline:objective_answers_total"] == {LABELS: 2}
    assert kept["stageline:objective_missed_total"] == {part("ttft"): 0, part("tpot"): 0}
    late = await answered(Objective(1e-9, 1000.0))
    assert late["stageline:objective_missed_total"] == {part("ttft"): 2, part("tpot"): 0}
    assert late["stageline:objective_seconds"] == {
        (("model_name", "tiny"), ("part", "ttft")): 1e-9,
        (("model_name", "tiny"), ("part", "tpot")): 1000.0,
    }


async def test_a_request_of_many_texts_is_one_answer() -> None:
    async with client_of(service_of(classifier(FakeEncoder(), objective=Objective(1e-9)))) as client:
        for _ in range(2):
            await client.post("/classify", json={"input": ["a", "b", "c"]})
        found = samples_of((await client.get("/metrics")).text)
    labels = (("engine", "fp32"), ("model_name", "intents"))
    assert found["stageline:objective_answers_total"] == {labels: 2}
    assert found["stageline:objective_missed_total"] == {part("latency", labels): 2}
