"""A scenario: what is asked, how often, for how long, and what is promised. One YAML file.

    name: chat-4
    requests:
      - {kind: chat, model: smollm2, prompt_tokens: {low: 16, high: 128}, output_tokens: 64}
      - {kind: classify, model: intents, weight: 3}
    load: {arrivals: poisson, rate: 4}
    duration_s: 60
    objective: {ttft_ms: {p99: 500}, tpot_ms: {p99: 50}}

Unknown keys are refused.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from loadtest.errors import LoadTestError

Kind = Literal["chat", "completions", "classify", "embeddings", "translate"]
GENERATING = ("chat", "completions")
SCENARIOS = Path(__file__).parent / "scenarios"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(_Section):
    """Whole numbers from `low` to `high`, all as likely."""

    low: int = Field(ge=1)
    high: int = Field(ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        return self


Length = Annotated[int, Field(ge=1)] | Range


class Requests(_Section):
    """Requests of one kind. Their content is drawn from the scenario's seed and the request's number alone."""

    kind: Kind
    model: str
    weight: float = Field(1.0, gt=0)  # how often, against the others
    # Generation. Prompts are made of words that most tokenizers have whole: the server's `usage` tells the exact count.
    prompt_tokens: Length = 32
    output_tokens: Length = 64
    exact: bool = True  # exactly so many tokens: `ignore_eos`, which Stageline and vLLM know
    stream: bool = True
    # Other kinds: `batch` texts in one request, drawn from a file with one a line; by default from our own.
    texts: Path | None = None
    batch: int = Field(1, ge=1)
    source: str = "en"
    target: str = "de"
    body: dict[str, Any] = Field(default_factory=dict)  # more keys for the body, as they are


class Closed(_Section):
    """So many users, each of whom asks again when the answer has come."""

    users: int = Field(ge=1)
    think_s: float = Field(0.0, ge=0)
    requests: int | None = Field(None, ge=1)  # ends after so many, if `duration_s` does not end it before


class Phase(_Section):
    """`rate` requests a second, rising or falling evenly to `to` where that is given."""

    seconds: float = Field(gt=0)
    rate: float = Field(ge=0)
    to: float | None = Field(None, ge=0)


class Open(_Section):
    """Requests come when they come, however slow the answers are. One of `rate`, `phases` and `trace`."""

    arrivals: Literal["poisson", "gamma", "constant", "trace"]
    rate: float | None = Field(None, gt=0)
    phases: tuple[Phase, ...] = ()
    burstiness: float = Field(1.0, gt=0)  # gamma: 1 is Poisson, less is burstier
    trace: Path | None = None  # JSONL: {"at_s": 1.5}, and if it likes "prompt_tokens", "output_tokens"

    @model_validator(mode="after")
    def _one_of(self) -> Open:
        given = [bool(self.rate), bool(self.phases), bool(self.trace)]
        if sum(given) != 1 or (self.trace is not None) != (self.arrivals == "trace"):
            raise ValueError("give rate or phases, or arrivals: trace with a trace's file")
        if self.burstiness != 1.0 and self.arrivals != "gamma":
            raise ValueError("burstiness goes with arrivals: gamma")
        return self


Load = Closed | Open


class Percentiles(_Section):
    """The most that these may be."""

    p50: float | None = Field(None, gt=0)
    p90: float | None = Field(None, gt=0)
    p95: float | None = Field(None, gt=0)
    p99: float | None = Field(None, gt=0)


class Objective(_Section):
    """What the run must keep; milliseconds. `goodput` is the least share of all sent requests that keep `within`."""

    ttft_ms: Percentiles = Percentiles()
    tpot_ms: Percentiles = Percentiles()
    e2e_ms: Percentiles = Percentiles()
    failed: float | None = Field(None, ge=0, le=1)  # the largest share of requests that may fail
    within: dict[Literal["ttft_ms", "tpot_ms", "e2e_ms"], float] = Field(default_factory=dict)
    goodput: float | None = Field(None, ge=0, le=1)


class Scenario(_Section):
    """`warm_up_s` come before `duration_s` and are no part of the figures."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    requests: tuple[Requests, ...] = Field(min_length=1)
    load: Load
    warm_up_s: float = Field(5.0, ge=0)
    duration_s: float = Field(60.0, gt=0)
    timeout_s: float = Field(120.0, gt=0)  # of one request
    seed: int = 0
    keep_text: bool = False  # answers into the records
    objective: Objective = Objective()

    @model_validator(mode="after")
    def _phases_last(self) -> Scenario:
        phases = self.load.phases if isinstance(self.load, Open) else ()
        seconds = sum(one.seconds for one in phases)
        if phases and not math.isclose(seconds, self.total_s):
            raise ValueError(f"the phases last {seconds:g} s, but warm_up_s and duration_s {self.total_s:g} s")
        return self

    @property
    def total_s(self) -> float:
        """Until the last request is sent."""
        return self.warm_up_s + self.duration_s


def load_scenario(path: Path) -> Scenario:
    """Reads a file, or one of our own by its name. Paths inside are relative to it, and absolute in what is returned.
    Raises LoadTestError."""
    if not path.is_file() and path.suffix == "" and len(path.parts) == 1:
        path = SCENARIOS / f"{path}.yaml"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        ours = ", ".join(sorted(one.stem for one in SCENARIOS.glob("*.yaml")))
        raise LoadTestError(f"{path}: there is no such scenario. Ours are: {ours}.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LoadTestError(f"{path}: cannot be read: {error}.") from None
    return parse_scenario(data, path)


def parse_scenario(data: Any, path: Path) -> Scenario:
    """`path` is where it comes from: for messages, and for the paths inside. Raises LoadTestError."""
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        raise LoadTestError("\n".join(_complaints(error, path))) from None
    return _with_paths(scenario, path.parent.resolve())


def changed(scenario: Scenario, path: Path, **changes: Any) -> Scenario:
    """With other values for some of its keys. Raises LoadTestError where it then makes no sense."""
    return parse_scenario(scenario.model_copy(update=changes).model_dump(), path)


def _complaints(error: ValidationError, path: Path) -> list[str]:
    """A complaint about the whole has no key to name."""
    return [
        ": ".join(filter(None, (str(path), ".".join(map(str, one["loc"])), one["msg"]))) + "." for one in error.errors()
    ]


def _with_paths(scenario: Scenario, folder: Path) -> Scenario:
    requests = tuple(
        one.model_copy(update={"texts": folder / one.texts}) if one.texts is not None else one
        for one in scenario.requests
    )
    load = scenario.load
    if isinstance(load, Open) and load.trace is not None:
        load = load.model_copy(update={"trace": folder / load.trace})
    return scenario.model_copy(update={"requests": requests, "load": load})
