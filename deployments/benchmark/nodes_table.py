"""What several nodes do, as Markdown, from a kept result alone. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from deployments.benchmark.complaints import doubt
from deployments.benchmark.markdown_table import NONE, markdown_table, number, shown
from deployments.benchmark.origin import told
from deployments.benchmark.ratios import ratio, spread
from deployments.benchmark.table import times

TRAFFIC = (
    "KB/token: all that nodes sent each other (the head included, the client not), by the kernel's counters at their "
    "cables, over the tokens that were answered; prompts and Ray's own messages are in it. Idle: KB/s without load."
)

BASELINE = (
    "A replica on each node, of the plain baseline and of Stageline; the baseline with as many threads as it is "
    "fastest with, at most as many as Stageline. It answers in one piece, and has two callers for each replica; its "
    "rate is from the first request sent to the last answer:"
)


def markdown(result: Mapping[str, Any]) -> str:
    """A row for each shape, and what a slow link costs."""
    text = [origin(result), "", shapes_table(result), "", TRAFFIC]
    text += ["", BASELINE, "", baseline_table(result)]
    text += [f"\n{name}: {words}" for name, words in doubts(result)]
    if result["slow"] is not None:
        text += ["", slow_words(result["slow"]), "", slow_table(result["slow"], result["unit"])]
    return "\n".join(text) + "\n"


def origin(result: Mapping[str, Any]) -> str:
    """Where, when, of what, and what it is that nodes share."""
    scenario = result["scenario"]
    (asked,) = scenario["requests"]
    head = "cores of their own" if result["head_apart"] else "the same cores as the nodes, as the machine has no others"
    unfinished = "" if result["complete"] else " **It was stopped before its last round.**"
    return (
        f"{told(result)} {result['model']}:{result['variant']}, scenario `{scenario['name']}` of {asked['kind']}"
        f"{', streamed' if asked['stream'] else ''}, {scenario['load']['users']} callers; {result['used_cores']} cores "
        f"for all nodes together, however many. The front door and the client have {head}. {_rounds(result)} of "
        f"{result['seconds']:g} s, each on new processes.{unfinished}"
    )


def _rounds(result: Mapping[str, Any]) -> str:
    return "One round" if result["rounds"] == 1 else f"Medians of {result['rounds']} rounds (in brackets the extremes)"


def doubts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the client says against its own figures, by shape."""
    found = [(one["name"], doubt([sample["client"] for sample in one["samples"]])) for one in result["shapes"]]
    found += [
        (f"baseline on {one['nodes']}", doubt([sample["client"] for sample in one["samples"]]))
        for one in result["baselines"]
    ]
    if result["slow"] is not None:
        found.append(("slow link", doubt([sample["client"] for sample in result["slow"]["samples"]])))
    return [(name, words) for name, words in found if words]


def shapes_table(result: Mapping[str, Any]) -> str:
    """A row each."""
    head = (
        "nodes",
        "served as",
        "threads",
        "cores",
        result["unit"],
        "of one node's [least to most of the rounds]",
        "TPOT",
        "KB/token",
        "idle",
    )
    return markdown_table(head, [row(shape, result["shapes"][0]) for shape in result["shapes"]])


def baseline_table(result: Mapping[str, Any]) -> str:
    """The plain baseline on as many nodes, against a replica of Stageline on each."""
    head = (
        "nodes",
        "baseline's threads",
        f"baseline, {result['unit']}",
        f"Stageline, {result['unit']}",
        "ratio [least to most of the rounds]",
    )
    ours = {one["nodes"]: one for one in result["shapes"] if one["how"] == "replicas"}
    rows = []
    for one in result["baselines"]:
        theirs, mine = ([sample["rate"] for sample in two["samples"]] for two in (one, ours[one["nodes"]]))
        better = times(ratio(theirs, mine, lower_is_better=False))
        threads = "/".join(sorted({str(sample.get("threads", NONE)) for sample in one["samples"]}))
        told = f"{one['nodes']} x {threads}"
        rows.append((str(one["nodes"]), told, rate_shown(theirs), rate_shown(mine), better))
    return markdown_table(head, rows)


def row(shape: Mapping[str, Any], one: Mapping[str, Any]) -> tuple[str, ...]:
    """`one` is the shape on one node."""
    rates = [sample["rate"] for sample in shape["samples"]]
    return (
        str(shape["nodes"]),
        shape["name"],
        f"{shape['nodes']} x {shape['threads']}",
        "own" if shape["apart"] else "shared",
        rate_shown(rates),
        efficiency(shape, one),
        f"{number(value)} ms" if (value := median(shape["samples"], "tpot_p50_ms")) is not None else NONE,
        number(statistics.median(bytes_each(sample) for sample in shape["samples"]) / 1e3),
        f"{number(statistics.median(sample['idle_bytes_per_s'] for sample in shape['samples']) / 1e3)} KB/s",
    )


def efficiency(shape: Mapping[str, Any], one: Mapping[str, Any]) -> str:
    """Of what one node does with the same cores."""
    if shape["nodes"] == 1:
        return "100%"
    return share_of([sample["rate"] for sample in one["samples"]], [sample["rate"] for sample in shape["samples"]])


def share_of(whole: Sequence[float], rates: Sequence[float]) -> str:
    """By round."""
    found = ratio(whole, rates, lower_is_better=False)
    interval = f" [{found.low:.0%} to {found.high:.0%}]" if len(rates) > 1 else ""
    return f"{found.value:.0%}{interval}"


def rate_shown(rates: Sequence[float]) -> str:
    return shown(spread(rates)) if len(rates) > 1 else number(rates[0])


def bytes_each(sample: Mapping[str, Any]) -> float:
    """What nodes sent each other for each token, or text, that was answered: prompts and Ray's own messages with it."""
    return float(sample["bytes"]["between"] / sample["answered"])


def median(samples: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Of those that have it."""
    values = [sample[key] for sample in samples if sample.get(key) is not None]
    return statistics.median(values) if values else None


def slow_words(slow: Mapping[str, Any]) -> str:
    sample = slow["samples"][0]
    (place,) = sample["where"]
    stages = ", ".join(f"stage {index} on {node}" for index, node in enumerate(place["parts"]))
    by = (
        "The kernel (netem) delays the packets."
        if not any(one["relay"] for one in slow["samples"])
        else "This kernel has no netem: a process hands the packets on, which takes some of the same cores; what it "
        "costs without a delay stands beside it."
    )
    return (
        f"What a slow link costs: {slow['shape']} ({stages}; driver on {place['driver']}), {slow['node']}'s cable. {by}"
    )


def slow_table(slow: Mapping[str, Any], unit: str) -> str:
    """Medians of the rounds, against the link as it is with as many callers."""
    head = ("round trip longer by", "callers", unit, "of the link as it is [least to most of the rounds]", "TPOT")
    groups: dict[tuple[float, bool, int], list[Mapping[str, Any]]] = {}
    for sample in sorted(slow["samples"], key=lambda one: one["round"]):
        groups.setdefault((sample["delay_ms"], sample["relay"], sample["callers"]), []).append(sample)
    rates = {key: [sample["rate"] for sample in found] for key, found in groups.items()}
    rows = []
    for key, found in sorted(groups.items(), key=lambda item: (-item[0][2], item[0][0])):
        delay_ms, relay, callers = key
        tpot = median(found, "tpot_p50_ms")
        rows.append(
            (
                "0 ms, handed on" if relay and delay_ms < 0.1 else f"{delay_ms:g} ms",
                str(callers),
                rate_shown(rates[key]),
                share_of(rates[0.0, False, callers], rates[key]),
                NONE if tpot is None else f"{number(tpot)} ms",
            )
        )
    return markdown_table(head, rows)
