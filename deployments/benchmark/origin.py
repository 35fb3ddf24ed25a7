"""Where a result comes from: kept when a measurement begins, told above its table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadtest.machine import machine

VERSIONS = ("torch", "transformers", "ray", "locust")
CLIENTS = " (the client's: the server's is another, at {url})"


def origin(command: str, config: Path, *, standard: bool, urls: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Commit, machine and versions as they are now; the command, and the configuration's text. `standard` says that
    nothing was asked for that makes the figures others than the page promises. `urls` are of servers that ran already.
    """
    return {
        **machine(VERSIONS),
        "command": command,
        "standard": standard,
        "config": config.name,
        "configuration": config.read_text(encoding="utf-8"),
        "urls": dict(urls or {}),
    }


def told(result: Mapping[str, Any]) -> str:
    """A line of Markdown: command, commit, date, machine, versions."""
    versions = ", ".join(f"{name} {result[name]}" for name in VERSIONS if name in result)
    elsewhere = CLIENTS.format(url=", ".join(result["urls"].values())) if result["urls"] else ""
    return (
        f"`{result['command']}`: commit {result['commit']}, {result['date'][:10]}, {result['cores']} cores of "
        f"{result['processor']}, {result['memory_gib']} GiB{elsewhere}, {versions}."
    )
