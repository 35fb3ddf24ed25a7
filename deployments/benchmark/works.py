"""What is measured: the article's three lines and what belongs beside them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deployments.settings import Model, Settings, Task
from engine.errors import ConfigError
from loadtest.scenario import Closed, Scenario, load_scenario

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


# The article does not say how long its texts are: lines and letters are both held against it.
CLASSIFICATION = Claim(45, 12, 3.7)
WORKS = (
    Work("generation", "generation", "Text generation", "tokens_per_s", Claim(120, 385, 3.2)),
    Work("generation-1", "generation", "Text generation", "tokens_per_s", None),
    Work("classification", "classification", "Classification of lines", "p50_ms", CLASSIFICATION),
    Work("classification-letters", "classification", "Classification of letters", "p50_ms", CLASSIFICATION),
    Work("classification-8", "classification", "Classification of lines", "p50_ms", None),
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
    return with_model(scenario, first_of(settings, work.task).name)


def first_of(settings: Settings, task: str) -> Model:
    """The first model of a task of `TASKS`. Raises ConfigError."""
    found = next((model for model in settings.models if model.task == TASKS[task]), None)
    if found is None:
        raise ConfigError(
            f"No model of this configuration is for {TASKS[task]}: leave that out with --task.", param="task"
        )
    return found


def with_model(scenario: Scenario, name: str) -> Scenario:
    """Asked of all requests. Raises ConfigError for a scenario that is not a closed loop of requests of one kind."""
    if not isinstance(scenario.load, Closed) or len(scenario.requests) != 1:
        raise ConfigError(f"{scenario.name}: needs a closed loop (users) and requests of one kind.", param="scenario")
    asked = scenario.requests[0].model_copy(update={"model": name})
    return scenario.model_copy(update={"requests": (asked,)})


def users_of(scenario: Scenario) -> int:
    assert isinstance(scenario.load, Closed)
    return scenario.load.users


def for_round(scenario: Scenario, turn: int, users: int, seconds: float, warm_up_s: float = 0.0) -> Scenario:
    """All servers get the same requests in a turn, and others in the next one: a prefix cache would know them."""
    changes = {"load": Closed(users=users), "warm_up_s": warm_up_s, "duration_s": seconds, "seed": scenario.seed + turn}
    return scenario.model_copy(update=changes)


def callers_for(users: int, seconds: float, each_s: float, at_once: int = 1) -> int:
    """How many callers a server gets that answers `at_once` requests at a time, in `each_s` seconds each.

    Where it answers one after the other, more would only wait, and all who wait when the round ends must be answered
    yet. So that this takes no longer than the round: as many as it answers in half a round, at least twice as many as
    at once. (`table.complaints` holds its rate against that with one caller.)
    """
    return min(users, max(2 * at_once, int(at_once * seconds / 2 / each_s)))
