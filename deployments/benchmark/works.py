"""What is measured: the article's three lines and what belongs beside them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deployments.settings import Settings, Task
from engine.errors import ConfigError
from loadtest.scenario import Closed, Requests, Scenario, load_scenario

SCENARIOS = Path(__file__).with_name("scenarios")
TASKS: dict[str, Task] = {
    "generation": "text-generation",
    "classification": "text-classification",
    "translation": "translation",
}
KINDS: dict[str, Task] = {
    "chat": "text-generation",
    "completions": "text-generation",
    "classify": "text-classification",
    "translate": "translation",
}
"""Tasks by the kind of request."""

Figure = Literal["tokens_per_s", "items_per_s", "p50_ms"]
UNITS: dict[Figure, str] = {"tokens_per_s": "tokens/s", "items_per_s": "sentences/s", "p50_ms": "ms"}


@dataclass(frozen=True, slots=True)
class Claim:
    """A line of the article's table."""

    baseline: float
    optimized: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Work:
    """A line of ours. `task` is as on the command line; the scenario's file is called as the work."""

    name: str
    task: str
    title: str
    figure: Figure
    article: Claim | None

    @property
    def lower_is_better(self) -> bool:
        return self.figure == "p50_ms"


WORKS = (
    Work("generation", "generation", "Text generation", "tokens_per_s", Claim(120, 385, 3.2)),
    Work("classification", "classification", "Text classification", "p50_ms", Claim(45, 12, 3.7)),
    Work("classification-8", "classification", "Text classification", "p50_ms", None),
    Work("classification-letters", "classification", "Classification of letters", "p50_ms", None),
    Work("translation", "translation", "Translation", "items_per_s", Claim(28, 95, 3.4)),
)


def choose_works(tasks: Collection[str]) -> tuple[Work, ...]:
    """Those of these tasks, all if none is named. Raises ConfigError."""
    if unknown := set(tasks) - set(TASKS):
        raise ConfigError(f"--task {sorted(unknown)[0]}: known are {', '.join(TASKS)}.", param="task")
    return tuple(work for work in WORKS if not tasks or work.task in tasks)


def scenario_of(work: Work, folder: Path, settings: Settings) -> Scenario:
    """The work's scenario, closed, with requests of one kind, for the configuration's first model of the task.

    Raises ConfigError, and LoadTestError for a file that cannot be read.
    """
    path = folder / f"{work.name}.yaml"
    scenario = load_scenario(path)
    if not isinstance(scenario.load, Closed) or len(scenario.requests) != 1 or scenario.warm_up_s:
        raise ConfigError(f"{path}: needs a closed loop, requests of one kind, and warm_up_s: 0.")
    (asked,) = scenario.requests
    if KINDS.get(asked.kind) != TASKS[work.task]:
        raise ConfigError(f"{path}: requests of kind {asked.kind} are not for {work.task}.")
    if work.task == "generation" and (asked.stream or not asked.exact or not isinstance(asked.output_tokens, int)):
        raise ConfigError(
            f"{path}: needs stream: false, exact: true, and one number of output_tokens: the baseline "
            "answers in one piece, and both must answer with as much."
        )
    return with_model(scenario, model_of(settings, TASKS[work.task]))


def model_of(settings: Settings, task: Task) -> str:
    """The first model of a task. Raises ConfigError."""
    names = [model.name for model in settings.models if model.task == task]
    if not names:
        raise ConfigError(f"No model of this configuration is for {task}: leave that out with --task.", param="task")
    return names[0]


def with_model(scenario: Scenario, name: str) -> Scenario:
    asked: Requests = scenario.requests[0].model_copy(update={"model": name})
    return scenario.model_copy(update={"requests": (asked,)})


def users_of(scenario: Scenario) -> int:
    assert isinstance(scenario.load, Closed)
    return scenario.load.users


def for_round(scenario: Scenario, turn: int, users: int, seconds: float) -> Scenario:
    """Both servers get the same requests in a round, and others in the next one: a prefix cache would know them."""
    load = Closed(users=users)
    return scenario.model_copy(update={"load": load, "duration_s": seconds, "seed": scenario.seed + turn})


def callers_for(users: int, seconds: float, each_s: float, at_once: int = 1) -> int:
    """How many callers a server gets that answers `at_once` requests at a time, in `each_s` seconds each.

    It is as fast with twice as many as it answers at once as with any number: the others would only wait, and all who
    wait when the round ends must be answered yet. So that this takes no longer than the round: as many as it answers
    in half a round, at least twice as many as at once.
    """
    return min(users, max(2 * at_once, int(at_once * seconds / 2 / each_s)))
