"""`docs/benchmarks.md`, from the results that are kept in `loadtest/results`.

A section is a function from that folder to Markdown, empty where it has no result: add it to `SECTIONS`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deployments.benchmark.cost import cost_table
from deployments.benchmark.docs_words import AGREEMENT, COST, FAULTS, HEAD, NODES, OVERHEAD, SCALING, TABLE, transfer
from deployments.benchmark.faults import RUN
from deployments.benchmark.pages import PICTURE, present
from deployments.benchmark.pages import page as table_of
from deployments.benchmark.stored import RESULT, read_result

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "loadtest" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
LOADS = ("step", "burst", "day")
COMPARISON = "agreement.json"

Section = Callable[[Path], str]


def page(results: Path = RESULTS) -> str:
    """The whole page."""
    made = [HEAD, *(section(results) for section in SECTIONS)]
    return "\n".join(part.strip() + "\n" for part in made if part.strip())


def write_page(path: Path = PAGE, results: Path = RESULTS) -> None:
    """With tables and pictures as they are made now."""
    for name in ("table", "nodes", "faults", "overhead", *(f"scaling-{load}" for load in LOADS)):
        if (folder := latest(results, name)) is not None:
            present(folder)
    path.write_text(page(results), encoding="utf-8")


def latest(results: Path, ending: str) -> Path | None:
    """The newest folder `<date>-<commit>-<ending>` with a result that may be shown: whole, and asked for with the
    standard arguments."""
    found = {path.parent: read_result(path.parent) for path in _named(results, ending, RESULT)}
    shown = [folder for folder, result in found.items() if result.get("complete") and result.get("standard")]
    return max(shown, key=lambda folder: (str(found[folder]["date"]), folder.name), default=None)


def _named(results: Path, ending: str, file: str) -> list[Path]:
    return [path for path in results.glob(f"*-{ending}*/{file}") if _ends(path.parent.name, ending)]


def _ends(name: str, ending: str) -> bool:
    """Also with a number, where there are several of a day and a commit."""
    head, _, number = name.rpartition("-")
    return name.endswith(f"-{ending}") or (number.isdigit() and head.endswith(f"-{ending}"))


def link(path: Path) -> str:
    """As the page names it."""
    return os.path.relpath(path, PAGE.parent)


def table(results: Path) -> str:
    """The article's table."""
    return part(results, "table", TABLE, PICTURE)


def cost(results: Path) -> str:
    """The table's rates as money."""
    folder = latest(results, "table")
    made = "" if folder is None else cost_table(read_result(folder))
    return f"{COST}\n{made}\n" if made else ""


def nodes(results: Path) -> str:
    """Several nodes."""
    return part(results, "nodes", NODES, PICTURE)


def scaling(results: Path) -> str:
    """Loads that change: each that is kept."""
    found = [part(results, f"scaling-{name}", "", f"{name}/timeline.png") for name in LOADS]
    kept = [one for one in found if one]
    return "\n".join([SCALING, *kept]) if kept else ""


def faults(results: Path) -> str:
    """A node that is lost."""
    return part(results, "faults", FAULTS, f"{RUN}/timeline.png")


def overhead(results: Path) -> str:
    """What monitoring and access control cost."""
    return part(results, "overhead", OVERHEAD, PICTURE)


def agreement(results: Path) -> str:
    """Our client against others."""
    found = {path.parent: _comparison(path) for path in _named(results, "agreement", COMPARISON)}
    folder = max(found, key=lambda one: (str(found[one]["machine"]["date"]), one.name), default=None)
    if folder is None:
        return ""
    made = (folder / "agreement.md").read_text(encoding="utf-8").strip()
    return f"{AGREEMENT}\n{_asked(found[folder])}\n\n{made}\n\n{_whole(folder)}"


def _comparison(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _asked(comparison: Mapping[str, Any]) -> str:
    """The command, the server, the machine."""
    about, work = comparison["machine"], comparison["loads"][0]["work"]
    asked = f"--model {work['model']} --kind {work['kind']} --requests {work['requests']}"
    return (
        f"`stageline load agree {asked} --rounds {len(comparison['loads'][0]['rounds'])}` on {work['url']}: commit "
        f"{about['commit']}, {about['date'][:10]}, {about['cores']} cores of {about['processor']}."
    )


def does_not_transfer(results: Path) -> str:
    """To other machines."""
    folder = latest(results, "table")
    return transfer(None if folder is None else read_result(folder))


def part(results: Path, ending: str, intro: str, picture: str) -> str:
    """What is kept of a part, with its picture where there is one."""
    folder = latest(results, ending)
    if folder is None:
        return ""
    shown = f"![{ending}]({link(folder / picture)})\n\n" if (folder / picture).exists() else ""
    return f"{intro}\n{table_of(folder)}\n{shown}{_whole(folder)}"


def _whole(folder: Path) -> str:
    return f"All of it: [{folder.name}]({link(folder)}).\n"


SECTIONS: tuple[Section, ...] = (table, cost, nodes, scaling, faults, overhead, agreement, does_not_transfer)
