"""The work that all clients are given.

Lengths and arrivals are the same, request by request. The words of the prompts are not: servers keep prefixes, and who
asks what another has asked already is answered sooner.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loadtest.scenario import Closed, Load, Open, Requests, Scenario
from loadtest.workload import ask


@dataclass(frozen=True, slots=True)
class Streams:
    """Closed loop: so many requests under way at all times."""

    count: int


@dataclass(frozen=True, slots=True)
class Rate:
    """Open loop: requests a second, arriving as a Poisson process."""

    per_s: float


@dataclass(frozen=True, slots=True)
class Work:
    """One run: `requests` requests. `limit_s` is for all of it, beyond its schedule. In a round all clients have the
    same arrivals."""

    url: str
    model: str
    load: Streams | Rate
    kind: Literal["completions", "chat"] = "completions"
    requests: int = 120
    prompt_tokens: int = 64
    output_tokens: int = 64
    arrivals_seed: int = 0
    prompts_seed: int = 0
    limit_s: float = 600.0
    api_key: str = ""

    @property
    def timeout_s(self) -> float:
        """Of all of it."""
        return self.limit_s + (schedule(self, self.load)[-1] if isinstance(self.load, Rate) else 0.0)


def schedule(work: Work, rate: Rate) -> list[float]:
    """When the requests are due; the first at 0 s.

    servebench takes no schedule. It draws its own with Python's generator, so the others are given that one.
    """
    draw = random.Random(work.arrivals_seed)
    times, at_s = [], 0.0
    for _ in range(work.requests):
        at_s += draw.expovariate(rate.per_s)
        times.append(at_s)
    return [one - times[0] for one in times]


def scenario(work: Work, folder: Path) -> Scenario:
    """As ours. An open loop's arrivals are put into a file in `folder`."""
    request = Requests(
        kind=work.kind, model=work.model, prompt_tokens=work.prompt_tokens, output_tokens=work.output_tokens
    )
    load: Load
    if isinstance(work.load, Streams):
        load, duration_s = Closed(users=work.load.count, requests=work.requests), work.timeout_s
    else:
        times = schedule(work, work.load)
        trace = (folder / "arrivals.jsonl").resolve()
        trace.write_text("".join(json.dumps({"at_s": at_s}) + "\n" for at_s in times), encoding="utf-8")
        load, duration_s = Open(arrivals="trace", trace=trace), times[-1] + 1.0
    return Scenario(
        name="agreement",
        requests=(request,),
        load=load,
        warm_up_s=0.0,
        duration_s=duration_s,
        timeout_s=work.timeout_s,
        seed=work.prompts_seed,
    )


def prompts(work: Work, count: int, first: int = 0) -> list[str]:
    """Those that our own client sends."""
    request = Requests(kind="completions", model=work.model, prompt_tokens=work.prompt_tokens)
    one = Scenario(name="agreement", requests=(request,), load=Closed(users=1), seed=work.prompts_seed)
    return [json.loads(ask(one, number).body)["prompt"] for number in range(first, first + count)]


def add_lines(path: Path, lines: list[dict[str, object]]) -> Path:
    """A file of JSON lines, by its full path."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path.resolve()
