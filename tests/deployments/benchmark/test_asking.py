"""Who is asked what, in which order; no server runs."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from deployments.benchmark.answers import common_answers, other_prompts, variants
from deployments.benchmark.asking import AllTaken, Server, take_turns
from deployments.benchmark.harness import Measured, questions
from deployments.benchmark.works import SCENARIOS, WORKS, Work, scenario_of, users_of
from deployments.cli.benchmark import OPTIMIZED_CONFIG
from deployments.settings import load_settings
from loadtest.record import Record
from loadtest.scenario import Scenario

GENERATION, *_, TRANSLATION = WORKS
SLOW, FAST, PEER = "http://slow", "http://fast", "http://peer"


class Harness:
    """Servers that answer each request in `seconds` and say what they were asked."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.asked: list[tuple[str, str, int, float, int]] = []

    def __call__(self, scenario: Scenario, url: str) -> Measured:
        self.asked.append((url, scenario.name, users_of(scenario), scenario.duration_s, scenario.seed))
        asked = scenario.requests[0]
        records = [
            Record(
                number,
                asked.kind,
                asked.model,
                0.0,
                sent_s=0.0,
                end_s=self.seconds[url],
                output_tokens=64,
                text=url,
                variant="int8-dynamic" if url == FAST else "",
            )
            for number in range(2)
        ]
        return Measured(records, {"verdict": "fine"})


def servers(harness: Harness, *peers: str) -> list[Server]:
    own = [Server("baseline", SLOW, 1, measure=harness), Server("optimized", FAST, measure=harness)]
    return [*own, *(Server("peer", url, measure=harness, tasks=("generation",)) for url in peers)]


def turns(
    works: tuple[Work, ...], who: list[Server], rounds: int = 2, seconds: float | None = 8.0, **more: Any
) -> AllTaken:
    settings = load_settings(OPTIMIZED_CONFIG)
    scenarios = {work: scenario_of(work, SCENARIOS, settings) for work in works}
    return take_turns(scenarios, who, rounds, seconds, Console(quiet=True), **more)


def callers(taken: AllTaken) -> dict[str, dict[str, int]]:
    return {work.name: {name: one.callers for name, one in found.items()} for work, found in taken.items()}


def test_servers_take_turns_and_get_the_same_requests_in_a_round() -> None:
    harness = Harness({SLOW: 2.0, FAST: 0.5})
    found = turns((GENERATION,), servers(harness))
    assert callers(found) == {"generation": {"baseline": 2, "optimized": 32}}
    warm_up, rounds = harness.asked[:2], harness.asked[2:]
    assert [(url, users) for url, _, users, _, _ in warm_up] == [(SLOW, 1), (FAST, 32)]
    asked = [(FAST, 32, 8.0), (SLOW, 2, 8.0), (SLOW, 2, 8.0), (FAST, 32, 8.0)]
    assert [(url, users, seconds) for url, _, users, seconds, _ in rounds] == asked, "another first in each round"
    seeds = [seed for *_, seed in harness.asked]
    assert seeds == [0, 0, 1, 1, 2, 2]
    assert found[GENERATION]["baseline"].alone_per_s == 2 / 2.0
    assert found[GENERATION]["optimized"].alone_per_s is None


def test_without_seconds_the_scenarios_hold() -> None:
    harness = Harness({SLOW: 0.001, FAST: 0.001})
    assert callers(turns((TRANSLATION,), servers(harness), 1, None)) == {
        "translation": {"baseline": 16, "optimized": 16}
    }
    assert harness.asked[-1][3] == 4.0


def test_peers_only_generate_and_begin_a_round_in_their_turn() -> None:
    harness = Harness({SLOW: 1.0, FAST: 1.0, PEER: 1.0})
    found = turns((GENERATION, TRANSLATION), servers(harness, PEER), 3)
    assert set(found[GENERATION]) == {"baseline", "optimized", "peer"}
    assert set(found[TRANSLATION]) == {"baseline", "optimized"}
    names = [(name, url) for url, name, *_ in harness.asked]
    rounds = [names[at : at + 5] for at in range(5, 20, 5)]
    assert [one[0][1] for one in rounds] == [FAST, PEER, SLOW]
    assert all([name for name, _ in one] == ["generation"] * 3 + ["translation"] * 2 for one in rounds)


def test_each_measurement_is_kept_at_once_and_each_round_when_it_is_over() -> None:
    harness = Harness({SLOW: 1.0, FAST: 1.0})
    seen: list[str] = []

    def after(taken: AllTaken) -> None:
        seen.append(f"{len(taken[GENERATION]['optimized'].samples)} rounds")

    turns((GENERATION,), servers(harness), keep=lambda name, records: seen.append(name), after=after)
    assert seen == [
        "generation-optimized-1",
        "generation-baseline-1",
        "1 rounds",
        "generation-baseline-2",
        "generation-optimized-2",
        "2 rounds",
    ]


def test_answers_to_the_same_requests_are_put_beside_each_other() -> None:
    harness = Harness({SLOW: 1.0, FAST: 1.0})
    taken = turns((GENERATION,), servers(harness), 3)[GENERATION]
    assert common_answers(taken, "optimized") == [(SLOW, FAST)] * 6  # two in each of three rounds, no two alike
    assert other_prompts(taken, "optimized") is None, "none tells"
    for one in taken.values():
        for _, records in one.records:
            for record in records:
                record.prompt_tokens = 32
    assert other_prompts(taken, "optimized") == 0
    taken["optimized"].records[1][1][0].prompt_tokens = 31
    assert other_prompts(taken, "optimized") == 1
    assert (variants(taken["baseline"]), variants(taken["optimized"])) == ([], ["int8-dynamic"])
    assert [sample["round"] for sample in taken["optimized"].samples] == [1, 2, 3]


def test_a_question_is_what_was_sent() -> None:
    scenario = scenario_of(TRANSLATION, SCENARIOS, load_settings(OPTIMIZED_CONFIG))
    asked = questions(scenario, [Record(7, "translate", "en-de", 0.0)])
    assert list(asked) == [7]
    assert '"source": "en"' in asked[7]
