"""A request's record for people: what `/admin/requests` tells, as text in colours."""

from __future__ import annotations

import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deployments.front_door.trail.phases import PHASES
from deployments.front_door.trail.words import CAUSES, seconds

BAR = 24  # characters of the longest bar
COLOURS = {"queue": "yellow", "find": "red", "lost": "red", "prefill": "cyan", "run": "cyan", "decode": "green"}
OUTCOMES = {"ok": "green", "open": "cyan", "gone": "yellow", "refused": "yellow", "failed": "red"}

Told = dict[str, Any]


def why_view(told: Told) -> RenderableType:
    """All of one request."""
    parts: list[RenderableType] = [_headline(told), _facts(told)]
    if told["message"] or told["error"]:
        said = f"{told['error']}: {told['message']}" if told["message"] else told["error"]
        parts.append(Text(said, style="red"))
    parts += [_title("Where the time went"), time_table(told["phases"], told["took_s"])]
    if told["slowed"]:
        parts += [_title("What took most of it"), *(Text(f"  {line}") for line in told["slowed"])]
    choice = told["choice"]
    if choice is not None:
        parts += [_title(f"Why {told['variant'] or 'no variant'}"), Text(f"  {choice['reason']}")]
        parts.append(candidates_table(choice["candidates"], told["objective"]))
    if any(call["visits"] for call in told["calls"]):
        parts += [_title("Which replicas had it"), visits_table(told["calls"])]
        if told["more_calls"]:
            parts.append(Text(f"  and {told['more_calls']} calls more"))
    if told["stages"]:
        parts += [_title("What its stages did meanwhile, for all whom they served"), stages_table(told["stages"])]
    return Group(*parts)


def _headline(told: Told) -> Text:
    name = f"{told['model']}:{told['variant']}" if told["variant"] else told["model"] or ""
    text = Text.assemble((told["id"], "bold"), "  ", f"{told['method']} {told['path']}".strip(), "  ", (name, "bold"))
    status = f"{told['outcome']} {told['status'] or ''}".strip()
    text.append(f"  {status}", OUTCOMES[told["outcome"]]).append(f"  {seconds(told['took_s'])}", "bold")
    if told["slow"]:
        text.append("  slow", "yellow")
    return text


def _facts(told: Told) -> Text:
    objective = told["objective"] or {}
    facts = [f"came {moment(told['arrived_s'])}"]
    if told["key"]:
        facts.append(f"key {told['key']}")
    if told["prompt_tokens"] or told["output_tokens"]:
        facts.append(f"{told['prompt_tokens']} tokens in, {told['output_tokens']} out")
    whole = objective.get("token_s") is None
    for name, key in (("answer" if whole else "first token", "first_s"), ("a token", "token_s")):
        if told[key] is not None:
            promised = objective.get(key)
            against = "" if promised is None else f" (promised {seconds(promised)})"
            facts.append(f"{name} {seconds(told[key])}{against}")
    if told["trace"]:
        facts.append(f"trace {told['trace'].split('-')[1]}")
    return Text("  ".join(facts), style="dim")


def moment(at_s: float) -> str:
    """Wall clock of this machine, to the millisecond."""
    return datetime.datetime.fromtimestamp(at_s, datetime.UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def time_table(phases: list[Told], took_s: float) -> RenderableType:
    """A bar for each phase, where it lies in the whole."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for _ in range(4):
        table.add_column(no_wrap=True)
    table.add_column()  # where it is narrow words wrap, and figures stay whole
    whole = max(took_s, 1e-9)
    for phase in phases:
        colour = COLOURS.get(phase["name"], "blue")
        table.add_row(
            phase["name"],
            Text(bar(phase["start_s"] / whole, phase["seconds"] / whole), style=colour),
            Text(seconds(phase["seconds"]), justify="right"),
            Text(f"{phase['seconds'] / whole:.0%}", justify="right"),
            Text(PHASES.get(phase["name"], ""), style="dim"),
        )
    return Padding(table, (0, 0, 0, 2))


def bar(start: float, share: float) -> str:
    """`share` of the width, from `start` on; at least a thin one."""
    first = min(BAR - 1, int(start * BAR))
    last = max(first + 1, min(BAR, round((start + share) * BAR)))
    mark = "█" if share * BAR >= 0.5 else "▏"
    return " " * first + mark * (last - first) + " " * (BAR - last)


def candidates_table(candidates: list[Told], objective: Told | None) -> RenderableType:
    """What was thought of each variant when the request came."""
    whole = objective is None or objective["token_s"] is None
    first = "answer" if whole else "first token"
    titles = ("variant", "quality", "running", "open", first, *(() if whole else ("a token",)), "of promise", "")
    table = Table(*titles, box=None, padding=(0, 2, 0, 0), header_style="dim")
    for one in candidates:
        predicted = one["predicted"] or {}
        chosen = one["verdict"] == "chosen"
        table.add_row(
            escape(one["variant"]),
            "" if one["retained"] is None else f"{one['retained']:.1%}",
            "" if one["running"] is None else f"{one['running']} of {one['slots']}",
            "" if one["open"] is None else f"{one['open']} of {one['places']}",
            _seconds(predicted.get("first_s")),
            *(() if whole else (_seconds(predicted.get("token_s")),)),
            "" if one["share"] is None else f"{one['share']:.0%}",
            Text(one["why"], style="bold green" if chosen else ""),
            style="bold" if chosen else "",
        )
    return Padding(table, (0, 0, 0, 2))


def visits_table(calls: list[Told]) -> RenderableType:
    """Every replica that was asked, and how that went."""
    titles = ("replica", "asked at", "first part", "ended", "tokens", "")
    table = Table(*titles, box=None, padding=(0, 2, 0, 0), header_style="dim")
    for call in calls:
        for visit in call["visits"]:
            cause = visit["cause"] if visit["replica"] else None
            texts = f"{call['texts']} texts together" if call["texts"] > 1 else ""
            table.add_row(
                escape(visit["replica"] or "none was there"),
                *(_seconds(visit[key]) for key in ("sent_s", "first_s", "ended_s")),
                str(visit["tokens"] or ""),
                Text(CAUSES.get(cause, cause) if cause else texts, style="red" if cause else ""),
            )
    return Padding(table, (0, 0, 0, 2))


def stages_table(stages: list[Told]) -> RenderableType:
    """A bar for each stage: how much of the time it computed."""
    table = Table("stage", "layers", "computed", "", "waited for work", "sent", box=None, padding=(0, 2, 0, 0))
    table.header_style = "dim"
    for one in stages:
        table.add_row(
            str(one["stage"]),
            one["layers"],
            Text(bar(0.0, one["busy"]), style="cyan"),
            *(f"{one[name]:.0%}" for name in ("busy", "waiting", "sending")),
        )
    return Padding(table, (0, 0, 0, 2))


def _seconds(value: float | None) -> str:
    return "" if value is None else seconds(value)


def requests_table(listed: list[Told]) -> Table:
    """One line for each request, with the phase that took the longest."""
    titles = ("request", "came", "model", "outcome", "took", "first", "a token", "in", "out", "mostly")
    table = Table(*titles, box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in table.columns[1:]:
        column.no_wrap = True
    table.columns[0].overflow = "fold"
    for one in listed:
        longest = max(one["phases"].items(), key=lambda pair: pair[1], default=("", 0.0))
        name = f"{one['model']}:{one['variant']}" if one["variant"] else one["model"] or ""
        table.add_row(
            escape(one["id"]),
            moment(one["arrived_s"])[11:],
            escape(name),
            Text(f"{one['outcome']} {one['status'] or ''}".strip(), style=OUTCOMES[one["outcome"]]),
            seconds(one["took_s"]),
            _seconds(one["first_s"]),
            _seconds(one["token_s"]),
            str(one["prompt_tokens"] or ""),
            str(one["output_tokens"] or ""),
            f"{longest[0]} {seconds(longest[1])}" + (f", resumed {one['resumed']}x" if one["resumed"] else ""),
        )
    return table
