"""A measurement as a table for the terminal."""

from __future__ import annotations

from rich.table import Table

from deployments.gate import losses
from deployments.quality import Quality
from deployments.settings import Gate
from deployments.sizes import format_size


def table(quality: Quality) -> Table:
    """The variant beside fp32: scores, size, time to load, speed."""
    ours, theirs = quality.variant, quality.reference
    shown = Table(title=f"{quality.model}:{ours.precision}", title_justify="left")
    for column in ("", ours.precision, theirs.precision, ""):
        shown.add_column(column, justify="right" if column else "left")
    for name, value in ours.scores.items():
        shown.add_row(words(name), f"{value:.4g}", f"{theirs.scores[name]:.4g}", f"{value - theirs.scores[name]:+.4g}")
    if quality.kl is not None and quality.agreement is not None:
        shown.add_row("KL divergence, nats", f"{quality.kl:.4g}", "", "")
        shown.add_row("same first choice", f"{quality.agreement:.2%}", "", f"of {quality.rows:,}")
    shown.add_row("quality kept", f"{quality.retained:.2%}", "", "")
    sizes = (ours.size_bytes, theirs.size_bytes)
    shown.add_row("size", *map(format_size, sizes), f"{sizes[0] / sizes[1]:.2f}x")
    if ours.load_s is not None and theirs.load_s is not None:
        shown.add_row("seconds to load", f"{ours.load_s:.2f}", f"{theirs.load_s:.2f}", "")
    for name, value in ours.speed.items():
        other = theirs.speed[name]
        shown.add_row(words(name), f"{value:.4g}", f"{other:.4g}", f"{value / other:.2f}x")
    return shown


def words(name: str) -> str:
    """A figure's name for people."""
    return name.replace("bleu", "BLEU").replace("chrf", "chrF").replace("_per_s_", "/s, at once: ").replace("_", " ")


def verdict(quality: Quality, gate: Gate) -> str:
    """Whether the gate would let it through, in rich's markup."""
    over = [loss.figures for loss in losses(quality, gate) if loss.too_much]
    if over:
        return f"[bold red]Over the gate:[/] {'; '.join(over)}. `stageline serve` refuses it."
    return f"[bold green]Within the gate:[/] {'; '.join(loss.figures for loss in losses(quality, gate))}."
