"""What speaks against a result of the table: pure functions of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deployments.benchmark.asking import BASELINE, OPTIMIZED
from deployments.benchmark.table import lines, samples, times
from loadtest.scenario import GENERATING

Samples = Sequence[Mapping[str, Any]]
CALLERS_COST = 0.8  # of the rate with one caller: less is no noise


def complaints(result: Mapping[str, Any]) -> list[str]:
    """Why the table does not show what it should: ratios that are not above the article's, requests that failed or were
    others, a baseline that callers slow down, a client that was too slow in most rounds."""
    found = []
    for line in lines(result):
        claim = line.work.article
        if claim is not None and (standing := line.ratio.against(claim.ratio)) != "above":
            where = "below" if standing == "below" else "not told apart from"
            found.append(f"{line.work.name}: {times(line.ratio)} is {where} the article's {claim.ratio:g}x.")
    for name, work in result["works"].items():
        if count := work["servers"][OPTIMIZED]["other_prompts"]:
            found.append(f"{name}: {count} requests were not as many tokens to both.")
        found += [f"{name}, {BASELINE}: {why}" for why in _slowed(work)]
        for server, one in work["servers"].items():
            found += [f"{name}, {server}: {why}" for why in _answers(work, one["samples"])]
            clients = [sample["client"] for sample in one["samples"]]
            if 2 * len(_late(clients)) > len(clients):
                found.append(f"{name}, {server}: {doubt(clients)}")
    return found


def doubts(result: Mapping[str, Any]) -> list[str]:
    """What the client says against single rounds."""
    return [
        f"{name}, {server}: {words}"
        for name, work in result["works"].items()
        for server, one in work["servers"].items()
        if (words := doubt([sample["client"] for sample in one["samples"]]))
    ]


def doubt(clients: Samples) -> str:
    """What the load client says against its own figures (`client` of each round's `run.json`); empty for nothing."""
    late = _late(clients)
    return f"{late[0]} (in {len(late)} of {len(clients)} rounds)" if late else ""


def _late(clients: Samples) -> list[str]:
    return [str(one["verdict"]) for one in clients if one.get("verdict")]


def _slowed(work: Mapping[str, Any]) -> list[str]:
    """Several callers must not make the baseline slower than one: it would not be the server that was measured, but how
    it is reached."""
    alone = work["servers"][BASELINE]["alone_per_s"]
    rates = samples(work, BASELINE, "items_per_s")
    if alone is None or max(rates) >= CALLERS_COST * alone:
        return []
    callers = work["servers"][BASELINE]["callers"]
    return [
        f"with {callers} callers {max(rates):.3g} requests/s at most, with one {alone:.3g}: its figures are too low."
    ]


def _answers(work: Mapping[str, Any], taken: Samples) -> list[str]:
    found = []
    if failed := sum(one["figures"]["failed"] for one in taken):
        kinds = sorted({kind for one in taken for kind in one["figures"]["failures"]})
        found.append(f"{failed} requests failed ({', '.join(kinds)}).")
    (asked,) = work["scenario"]["requests"]
    if asked["kind"] in GENERATING:
        wanted = asked["output_tokens"]
        got = {count for one in taken for count in one["figures"]["output_tokens"]}
        if got != {wanted}:
            found.append(f"answers of {min(got)} to {max(got)} tokens, not of {wanted}.")
    return found
