"""From a kept result to its table and picture, which can be made again at any time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deployments.benchmark import (
    faults_table,
    nodes_picture,
    nodes_table,
    overhead_table,
    peers_table,
    picture,
    scaling_table,
    table,
)
from deployments.benchmark.complaints import complaints, doubts
from deployments.benchmark.stored import read_result


def whole_table(result: Mapping[str, Any]) -> str:
    """With the peers, and what speaks against it."""
    against = dict.fromkeys((*complaints(result), *doubts(result)))
    told = "What speaks against it:\n\n" + "\n".join(f"- {one}" for one in against) if against else ""
    return (
        "\n\n".join(part.strip() for part in (table.markdown(result), peers_table.markdown(result), told) if part)
        + "\n"
    )


MARKDOWN: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "table": whole_table,
    "nodes": nodes_table.markdown,
    "scaling": scaling_table.markdown,
    "faults": faults_table.markdown,
    "overhead": overhead_table.markdown,
}
"""By the name under `benchmark` in the result."""

PICTURES: Mapping[str, Callable[[Mapping[str, Any], Path], None]] = {
    "table": picture.draw,
    "nodes": nodes_picture.draw,
}
PAGE = "table.md"
PICTURE = "table.png"


def page(folder: Path) -> str:
    """The table of a kept result. Raises ConfigError."""
    result = read_result(folder)
    return MARKDOWN[result["benchmark"]](result)


def present(folder: Path) -> None:
    """Writes table and picture. Raises ConfigError."""
    result = read_result(folder)
    (folder / PAGE).write_text(page(folder), encoding="utf-8")
    if (draw := PICTURES.get(result["benchmark"])) is not None:
        draw(result, folder / PICTURE)
