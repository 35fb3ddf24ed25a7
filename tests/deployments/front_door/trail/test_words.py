from __future__ import annotations

from dataclasses import replace

import pytest

from deployments.front_door.trail.record import Call, Record, Visit
from deployments.front_door.trail.view import line, shown
from deployments.front_door.trail.words import reason, seconds, slowed, thought
from deployments.routing.choice import Candidate, Decision, choose
from deployments.routing.explain import explain
from deployments.routing.prediction import Demand
from deployments.routing.situation import Situation
from engine.request import Timings
from tests.deployments.routing.test_choice import asleep, pool, ready
from tests.deployments.routing.test_explain import situation

BUSY = ready("bf16", pool(40))


def words(asked: Situation) -> tuple[str, dict[str, str]]:
    """Why the chosen one, and what was thought of each."""
    decision, _ = choose(asked.candidates, asked.demand, asked.objective, asked.memory, asked.now, policy=asked.policy)
    weighed = explain(asked, decision)
    return reason(asked, decision, weighed), {one.name: thought(one, asked) for one in weighed}


@pytest.mark.parametrize(
    ("value", "text"), [(12.34, "12 s"), (1.84, "1.8 s"), (0.5, "500 ms"), (0.012, "12 ms"), (0.0004, "0.4 ms")]
)
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text


def test_the_best_that_is_quick_enough() -> None:
    why, thoughts = words(situation(ready("fp32", pool(base_s=0.2)), ready("bf16", pool()), ready("int8", pool())))
    assert why.startswith("The best variant predicted to keep what is promised (")
    assert why.endswith("Passed over, though better: fp32.")
    assert thoughts["fp32"].startswith("too slow: first token in ")
    assert "promised 50 ms" in thoughts["fp32"]
    assert thoughts["int8"] == "would have done; the chosen one is better"


def test_none_is_quick_enough_and_a_sleeping_one_is_woken() -> None:
    why, _ = words(situation(ready("fp32", pool(300)), asleep("int8")))
    assert why.startswith("None was predicted to keep what is promised; this one came closest")
    assert why.endswith("int8 was asleep and is being started beside it.")


def test_a_prompt_that_no_variant_is_quick_enough_for() -> None:
    """What counts then is what the load adds."""
    long = Demand(prompt_tokens=8000, most_tokens=20)
    why, thoughts = words(situation(ready("fp32", pool()), ready("bf16", pool()), demand=long))
    assert why.startswith(
        "None keeps what is promised even without load; this one is the best that the load adds little"
    )
    assert thoughts["bf16"] == "would have missed it, too; the chosen one is better"
    why, _ = words(situation(ready("fp32", pool(300)), ready("bf16", pool(200)), demand=long))
    assert why.startswith("None keeps what is promised even without load; this one is what it adds least to")


def test_one_that_would_keep_it_and_may_not_use_so_much() -> None:
    asked = replace(situation(ready("fp32", pool(base_s=0.045))), policy="balanced")
    decision, _ = choose(asked.candidates, asked.demand, asked.objective, asked.memory, asked.now, policy="balanced")
    assert decision.reason == "least_bad"
    why, _ = words(asked)
    assert why.startswith(
        "Each was predicted to use more of what is promised than it may at present; this one least (9"
    )
    both = replace(situation(ready("fp32", pool(base_s=0.049)), ready("bf16", pool(base_s=0.045))), policy="balanced")
    assert "may use 50%" in words(both)[1]["fp32"]


def test_the_load_of_some_is_not_known() -> None:
    why, _ = words(situation(ready("fp32", pool(300)), ready("bf16", None)))
    assert why.startswith("The load of some variants was not known, and the others were too slow")


def test_other_reasons() -> None:
    asked = situation(ready("fp32", pool(base_s=0.2)), ready("bf16", pool()))
    assert words(replace(asked, policy="fast"))[0].startswith("The request asked for the fastest")
    assert "at most 50% of what is promised" in words(replace(asked, policy="balanced"))[0]
    assert words(situation(ready("a", None)))[0].startswith("The load of these variants was not known")
    assert words(situation(asleep("a")))[0] == "No variant was ready; this one is being started."
    assert reason(asked, None, explain(asked, None)).startswith("No variant was chosen")


def busy_record(timings: Timings, **changes: object) -> Record:
    record = Record(
        "r", model="m", task="text-generation", arrived=100, read=100, choosing=100, chosen=100, ended=104, status=200
    )
    record.situation, record.decision = situation(BUSY), Decision("bf16", "objective")
    record.calls = [Call(1, [Visit(100, "a", sent=100, first=103, ended=104, timings=timings)])]
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def test_what_slowed_a_request_that_waited() -> None:
    record = busy_record(Timings(1.8, 1.0, 1.0), prompt_tokens=900, output_tokens=20, token_s=0.05)
    told = shown(record, slow=True)["slowed"]
    assert told == [
        "Waited 1.8 s for a place in the engine: 40 of 64 places ran and 0 waited when it came.",
        "Its prompt of 900 tokens took 1.0 s to compute.",
        "Writing took 1.0 s: 20 tokens at 50 ms each (promised 50 ms).",
    ]


def test_what_slowed_a_request_whose_replica_died_and_whose_caller_read_slowly() -> None:
    record = busy_record(Timings(0, 0, 1), sending_s=3.0)
    record.calls[0].visits.insert(0, Visit(100, "dead", sent=100, ended=101, tokens=17, cause="died"))
    told = slowed(record, [])
    assert "Replica dead died after 17 tokens." in told
    assert "3.0 s of this the caller took to read what was sent." in told


def test_a_line_says_how_it_ended() -> None:
    record = busy_record(Timings(0, 0, 1))
    assert line(record, slow=False)["outcome"] == "ok"
    for changes, outcome in (
        ({"gone": True}, "gone"),
        ({"status": 400}, "refused"),
        ({"status": 503}, "failed"),
        ({"ended": 0.0}, "open"),
    ):
        assert line(busy_record(Timings(0, 0, 1), **changes), slow=False)["outcome"] == outcome


def test_all_is_shown_of_a_candidate() -> None:
    record = busy_record(Timings(0, 0, 1))
    record.situation = situation(BUSY, Candidate("next", "ready", 0, 320, None))
    best, other = shown(record, slow=False)["choice"]["candidates"]
    assert (best["verdict"], best["running"], best["slots"], best["open"], best["places"]) == (
        "chosen",
        40,
        64,
        40,
        320,
    )
    assert best["predicted"]["first_s"] > best["alone"]["first_s"] > 0
    assert other["predicted"] is None
