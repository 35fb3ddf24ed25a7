"""A frame as text for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from deployments.sizes import format_size
from deployments.top.frame import Frame, ModelRow, Quantiles, ReplicaRow, VariantRow

TITLES = ("variant", "state", "open", "run", "wait", "KV", "req/s", "tok/s", "first", "token", "whole")
LEAST = {"variant": 14, "state": 8, "first": 8}  # characters of a column; of others, their titles
FULL = 8  # cells of a bar


def draw(frame: Frame, where: str, note: str = "") -> RenderableType:
    """The whole view; `where` is the server's address, `note` a line below."""
    state = "[green]ready[/]" if frame.ready else "[yellow]not ready[/]"
    head = (
        f"[bold]{escape(where)}[/]  {state}  {frame.requests_per_s:.1f} requests/s  {frame.tokens_per_s:.0f} tokens/s"
        f"  over {frame.seconds:.1f} s"
    )
    if frame.stalls:
        head += f"  [red]{frame.stalls} stalls: see the log[/]"
    parts: list[RenderableType] = [Text.from_markup(head)]
    for model in frame.models:
        parts += [Text(""), Text.from_markup(_model_line(model)), _table(model)]
    if note:
        parts += [Text(""), Text(note, style="dim")]
    return Group(*parts)


def _model_line(model: ModelRow) -> str:
    line = f"[bold]{escape(model.name)}[/]  {model.task}"
    resumed = sum(variant.resumed for variant in model.variants)
    counts = ((model.steps, "steps"), (resumed, "resumed"), (model.refused, "refused"), (model.failed, "failed"))
    for count, what in counts:
        line += f"  {count} {what}" if count else ""
    return line


def _table(model: ModelRow) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for title in TITLES:
        counts = title not in ("variant", "state")
        # Where it is narrow, words about the state wrap, and figures stay whole.
        table.add_column(
            title,
            justify="right" if counts else "left",
            no_wrap=title != "state",
            overflow="ellipsis",
            min_width=LEAST.get(title, len(title)),
        )
    for variant in model.variants:
        table.add_row(*_variant_cells(variant))
        for replica in variant.replicas:
            table.add_row(*_replica_cells(replica))
            for stage in replica.stages:
                replaced = f", replaced {stage.restarts}x" if stage.restarts else ""
                table.add_row(
                    f"    stage {stage.index}: {stage.layers}",
                    f"{stage.state} {bar(stage.busy)} {stage.busy:.0%} busy, {stage.waiting:.0%} waits, "
                    f"{format_size(stage.memory_bytes)}, {stage.process}{replaced}",
                )
    return table


def _variant_cells(variant: VariantRow) -> tuple[str, ...]:
    marks = ("[green]>[/]" if variant.preferred else " ") + ("[red]![/]" if variant.pressed else " ")
    colour = "" if variant.state == "ready" else "[dim]"
    return (
        f"{marks} {escape(variant.name)}",
        f"{colour}{variant.state}",
        str(variant.open),
        str(variant.running),
        str(variant.waiting),
        "" if variant.kv is None else f"{variant.kv:.0%}",
        f"{variant.requests_per_s:.1f}",
        f"{variant.tokens_per_s:.0f}",
        _times(variant.first),
        _times(variant.token),
        _times(variant.latency),
    )


def _replica_cells(replica: ReplicaRow) -> tuple[str, ...]:
    return (
        f"   {replica.name}",
        f"[dim]{replica.state} {replica.process}"
        + ("" if replica.bubble is None else f", bubble {replica.bubble:.0%}"),
        "",
        str(replica.running),
        str(replica.waiting),
        "" if replica.kv is None else f"{replica.kv:.0%}",
        "",
        "" if replica.tokens_per_s is None else f"{replica.tokens_per_s:.0f}",
    )


def bar(share: float) -> str:
    """A share, 0 to 1, as `FULL` cells."""
    filled = round(max(0.0, min(1.0, share)) * FULL)
    return "█" * filled + "░" * (FULL - filled)


def _times(times: Quantiles | None) -> str:
    """ "p50/p95" in milliseconds under a second, else in seconds."""
    if times is None or times.p50 is None or times.p95 is None:
        return ""
    if times.p95 < 1:
        return f"{1000 * times.p50:.0f}/{1000 * times.p95:.0f}ms"
    return f"{times.p50:.1f}/{times.p95:.1f}s"
