"""Numbers and scenarios as people read them."""

from __future__ import annotations

from loadtest.intervals import Estimate
from loadtest.scenario import GENERATING, Closed, Length, Open, Phase, Range, Requests, Scenario

ARRIVALS = {
    "poisson": "Poisson arrivals",
    "gamma": "gamma arrivals (burstiness {burstiness:g})",
    "constant": "arrivals at even distances",
    "trace": "arrivals as in {trace}",
}
FAILURES = {
    "429": "refused: the caller's own limit (429)",
    "503": "refused: too much load (503)",
    "http": "another HTTP status than 200",
    "timeout": "not complete in time",
    "cut": "cut off before its end",
    "connection": "no connection, or it broke before the answer",
    "answer": "an answer that makes no sense, or an error inside a stream",
    "client": "not sent: the client's own limits",
    "unfinished": "stopped with the run, before its end",
}


def short(value: float) -> str:
    """Three digits, or all those before the point; what is next to nothing is nothing."""
    if 1e-4 <= abs(value) < 0.01:
        return f"{value:.1g}"
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:.{digits}f}"


def with_interval(found: Estimate) -> str:
    """ "120 [110, 135]"; a bound that cannot be given is a dash."""
    low, high = (("–" if bound is None else short(bound)) for bound in (found.low, found.high))
    return f"{short(found.value)} [{low}, {high}]"


def scenario_words(scenario: Scenario) -> list[str]:
    """A sentence or two for each part."""
    return [*_asked(scenario), _load(scenario), _times(scenario)]


def _asked(scenario: Scenario) -> list[str]:
    total = sum(one.weight for one in scenario.requests)
    shares = [f" ({one.weight / total:.0%} of the requests)" if len(scenario.requests) > 1 else ""
              for one in scenario.requests]  # fmt: skip
    return [f"{_kind(one)}{share}." for one, share in zip(scenario.requests, shares, strict=True)]


def _kind(one: Requests) -> str:
    if one.kind in GENERATING:
        told = "streamed" if one.stream else "in one piece"
        bound = "exactly" if one.exact else "at most"
        prompt, output = _length(one.prompt_tokens), _length(one.output_tokens)
        return f"{one.kind} by {one.model}, {told}: prompts of {prompt} tokens, {bound} {output} out"
    what = f"{one.kind} by {one.model}"
    if one.kind == "translate":
        what += f" from {one.source} to {one.target}"
    return f"{what}: {one.batch} {'text' if one.batch == 1 else 'texts'} in a request"


def _length(length: Length) -> str:
    return f"{length.low} to {length.high}" if isinstance(length, Range) else str(length)


def _load(scenario: Scenario) -> str:
    load = scenario.load
    if isinstance(load, Closed):
        return _closed(load)
    trace = "" if load.trace is None else load.trace.name
    arrivals = ARRIVALS[load.arrivals].format(burstiness=load.burstiness, trace=trace)
    return f"Open loop, whatever the answers take: {arrivals}{_rates(load)}."


def _closed(load: Closed) -> str:
    users = "1 user, who asks" if load.users == 1 else f"{load.users} users, each of whom asks"
    again = f"again {load.think_s:g} s after the answer" if load.think_s else "again when the answer has come"
    until = f", {load.requests} requests at most" if load.requests is not None else ""
    return f"Closed loop: {users} {again}{until}."


def _rates(load: Open) -> str:
    if load.rate is not None:
        return f", {load.rate:g} requests/s"
    return "".join(f", {_phase(phase)}" for phase in load.phases)


def _phase(phase: Phase) -> str:
    rate = f"{phase.rate:g}/s" if phase.to is None else f"{phase.rate:g} to {phase.to:g}/s"
    return f"{rate} for {phase.seconds:g} s"


def _times(scenario: Scenario) -> str:
    warm_up = (
        f"{scenario.warm_up_s:g} s of warm-up, which is no part of the figures, then " if scenario.warm_up_s else ""
    )
    return f"{warm_up}{scenario.duration_s:g} s. A request has {scenario.timeout_s:g} s. Seed {scenario.seed}."
