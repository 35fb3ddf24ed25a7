"""Who is asked what, in which order; no server runs."""

from __future__ import annotations

from rich.console import Console

from deployments.benchmark.harness import Measured, questions
from deployments.benchmark.run import Plan, Server, common_answers, other_prompts, take_turns, variants
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


def turns(plan: Plan, harness: Harness, servers: list[Server]) -> dict[str, dict[str, int]]:
    settings = load_settings(OPTIMIZED_CONFIG)
    scenarios = {work: scenario_of(work, SCENARIOS, settings) for work in plan.works}
    taken = take_turns(plan, scenarios, servers, Console(quiet=True), harness)
    return {work.name: {name: one.callers for name, one in found.items()} for work, found in taken.items()}


def plan(works: tuple[Work, ...], rounds: int = 2, seconds: float | None = 8.0) -> Plan:
    return Plan(OPTIMIZED_CONFIG, works, SCENARIOS, rounds, seconds)


def test_servers_take_turns_and_get_the_same_requests_in_a_round() -> None:
    harness = Harness({SLOW: 2.0, FAST: 0.5})
    servers = [Server("baseline", SLOW, 1), Server("optimized", FAST)]
    found = turns(plan((GENERATION,)), harness, servers)
    assert found == {"generation": {"baseline": 2, "optimized": 32}}
    warm_up, rounds = harness.asked[:2], harness.asked[2:]
    assert [(url, users) for url, _, users, _, _ in warm_up] == [(SLOW, 1), (FAST, 32)]
    assert [(url, users, seconds) for url, _, users, seconds, _ in rounds] == [(SLOW, 2, 8.0), (FAST, 32, 8.0)] * 2
    seeds = [seed for *_, seed in harness.asked]
    assert seeds == [0, 0, 1, 1, 2, 2]


def test_without_seconds_the_scenarios_hold() -> None:
    harness = Harness({SLOW: 0.001, FAST: 0.001})
    found = turns(plan((TRANSLATION,), 1, None), harness, [Server("baseline", SLOW, 1), Server("optimized", FAST)])
    assert found == {"translation": {"baseline": 16, "optimized": 16}}
    assert harness.asked[-1][3] == 10.0


def test_peers_only_generate() -> None:
    harness = Harness({SLOW: 1.0, FAST: 1.0, PEER: 1.0})
    servers = [Server("baseline", SLOW, 1), Server("optimized", FAST), Server("peer", PEER)]
    found = turns(plan((GENERATION, TRANSLATION), 1), harness, servers)
    assert list(found["generation"]) == ["baseline", "optimized", "peer"]
    assert list(found["translation"]) == ["baseline", "optimized"]


def test_answers_to_the_same_requests_are_put_beside_each_other() -> None:
    settings = load_settings(OPTIMIZED_CONFIG)
    scenarios = {GENERATION: scenario_of(GENERATION, SCENARIOS, settings)}
    harness = Harness({SLOW: 1.0, FAST: 1.0})
    servers = [Server("baseline", SLOW, 1), Server("optimized", FAST)]
    taken = take_turns(plan((GENERATION,), 3), scenarios, servers, Console(quiet=True), harness)[GENERATION]
    assert common_answers(taken) == [(SLOW, FAST)] * 6  # two in each of three rounds, no two alike
    assert other_prompts(taken) == 0
    taken["optimized"].records[1][1][0].prompt_tokens = 31
    assert other_prompts(taken) == 1
    assert (variants(taken["baseline"]), variants(taken["optimized"])) == ([], ["int8-dynamic"])
    assert [sample["round"] for sample in taken["optimized"].samples] == [1, 2, 3]


def test_a_question_is_what_was_sent() -> None:
    scenario = scenario_of(TRANSLATION, SCENARIOS, load_settings(OPTIMIZED_CONFIG))
    asked = questions(scenario, [Record(7, "translate", "en-de", 0.0)])
    assert list(asked) == [7]
    assert '"source": "en"' in asked[7]
