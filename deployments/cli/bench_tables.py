"""Results of benchmarks as tables; the last line on the output is JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from deployments.bench.rounds import hardest
from deployments.measuring.table import words


def write(result: dict[str, Any], output: Path | None) -> None:
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def show(
    result: dict[str, Any], notes: dict[str, str], console: Console, output: Path | None, unit: str = "tokens"
) -> None:
    title = f"{result['model']}:{result['variant']}, {result['cores']} cores, commit {result['commit']}"
    table = Table(f"{unit}/s", "median", "min", "max", title=title)
    for name, found in result[f"{unit}_per_s"].items():
        table.add_row(name, *(f"{found[key]:.0f}" for key in ("median", "min", "max")))
    console.print(table)
    for work, against in result.get("against", {}).items():
        best, ratio = hardest(against)
        shown = ", ".join(f"{one:.2f}x {peer}" for peer, one in against.items())
        console.print(f"  {work}: {shown}; [bold]{ratio:.2f}x[/] the best of them, {best}", highlight=False)
    for name, note in notes.items():
        console.print(f"  {name}: {note}", highlight=False)
    write(result, output)
    typer.echo(json.dumps(result))


def show_variants(result: dict[str, Any], console: Console, output: Path | None) -> None:
    """A row for each variant: figures, and how many times fp32's they are."""
    title = f"{result['model']}, {result['threads']} threads, commit {result['commit']}"
    names = list(result["variants"]["fp32"]["speed"])
    table = Table("", "s to load", *map(words, names), title=title)
    for variant, found in result["variants"].items():
        cells = (f"{found['speed'][name]:.0f} ({found['times_fp32'][name]:.2f}x)" for name in names)
        table.add_row(variant, f"{found['load_s']:.1f}", *cells)
    console.print(table)
    write(result, output)
    typer.echo(json.dumps(result))


def show_pipeline(result: dict[str, Any], console: Console, output: Path | None) -> None:
    """Speeds beside each other, then what each stage holds and does."""
    shape = result["shape"]
    where = "on this machine" if shape["nodes"] == 1 else f"on {shape['nodes']} nodes"
    title = f"{result['model']}:{result['variant']}, {shape['stages']} stages {where}, commit {result['commit']}"
    table = Table("tokens/s, medians", "one process", "pipeline", "pipeline / one process", title=title)
    for what, efficiency in result["efficiency"].items():
        speeds = (result["tokens_per_s"][f"{name}, {what}"]["median"] for name in ("one process", "pipeline"))
        table.add_row(what, *(f"{speed:.0f}" for speed in speeds), f"{efficiency:.0%}")
    console.print(table)
    stages = Table(
        "stage",
        "layers",
        "weights",
        "memory",
        "peak of loading",
        "loaded in",
        f"busy, {result['work']['streams']} streams",
    )
    for stage, share in zip(result["stages"], result["busy"], strict=True):
        stages.add_row(
            str(stage["index"]),
            stage["layers"],
            f"{stage['weight_bytes'] / 2**20:.0f} MiB",
            f"{stage['memory_bytes'] / 2**20:.0f} MiB",
            f"{stage['peak_memory_bytes'] / 2**20:.0f} MiB",
            f"{stage['load_s']:.1f} s",
            f"{share:.0%}",
        )
    console.print(stages)
    console.print(f"A hop between stages: {result['hop_ms']:.2f} ms. Bubble: {result['bubble']:.0%}.", highlight=False)
    write(result, output)
    typer.echo(json.dumps({key: value for key, value in result.items() if key != "spans"}))


def show_faults(result: dict[str, Any], console: Console, output: Path | None) -> None:
    """A row for each kind of loss: how often, and how long streams stood still for it."""
    table = Table("", "times", "streams", "longest pause", "median pause", "whole again after")
    for kind in dict.fromkeys(one["kind"] for one in result["injuries"]):
        found = [one for one in result["injuries"] if one["kind"] == kind]
        # A node or a link is away for some seconds on purpose: those do not count.
        again = [one["recovered_s"] - (one["undone_s"] or one["at_s"]) for one in found if one["recovered_s"]]
        table.add_row(
            kind,
            str(len(found)),
            str(sum(one["streams"] for one in found)),
            f"{max(one['longest_gap_s'] for one in found):.2f} s",
            f"{sorted(one['median_gap_s'] for one in found)[len(found) // 2]:.2f} s",
            f"{sorted(again)[len(again) // 2]:.1f} s" if again else "never",
        )
    console.print(table)
    console.print(
        f"{result['streams']} streams, {result['tokens']} tokens: {result['lost']} lost, {result['changed']} changed. "
        f"Undisturbed, the longest pause was {result['undisturbed']['longest_gap_s']:.2f} s.",
        highlight=False,
    )
    left = ", ".join(result["left_over"]) or "nothing"
    console.print(f"{result['callers_who_left']} callers left early. Left over in the end: {left}.", highlight=False)
    write(result, output)
    typer.echo(json.dumps(result))
