"""`docs/benchmarks.md`, from the results that are kept in `loadtest/results`.

A section is a function from that folder to Markdown, empty where it has no result: add it to `SECTIONS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from deployments.benchmark.faults import RUN
from deployments.benchmark.parts import page as parts_page
from deployments.benchmark.stored import RESULT, read_result
from deployments.benchmark.table import markdown

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "loadtest" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"

Section = Callable[[Path], str]

HEAD = """# Benchmarks

Made by `stageline benchmark docs` from the results in [loadtest/results](../loadtest/results); each has every request
as it went. Do not edit.
"""

TABLE = """## Baseline against optimized

`make bench`, or `stageline benchmark`: one command, all servers up, one measurement after the other, round after
round. Everything goes over HTTP, by the load harness ([loadtest](../loadtest)). The article's figures come from other
models on another machine: only its ratios can be held against ours.

- **baseline** is the way a team starts: Ray Serve with its own defaults, `transformers` in fp32, one request at a time,
  with as many threads as each model is fastest with (`deployments/benchmark/baseline.py`).
- **optimized** is Stageline with `deployments/benchmark/optimized.yaml`.
- Both get the same requests in a round (others in each round), read the same files, and answer with as many tokens,
  which their `usage` shows. Rates count from the first request sent to the last answer. Latency is from sending to the
  whole answer; the figure is a round's median.
- The baseline of generation gets as many of the callers as it answers in half a round. It answers one at a time: the
  others would only wait.
"""

NODES = """## On several nodes

`stageline benchmark nodes`. Real Ray nodes, each in a network namespace of its own, that share this machine's cores:
more nodes have no more cores together, so that 100% is the most that several can reach.
"""

SCALING = """## Loads that change

`stageline benchmark scaling step` (`burst`, `day`), with `deployments/benchmark/scaling.yaml`.
"""

FAULTS = """## A node killed at the peak

`stageline benchmark faults`. That no token of any stream is lost or changed by a fault is what `stageline bench faults`
shows ([how](pipeline.md)).
"""

AGREEMENT = """## Our client and others

`stageline load agree` ([how](load-testing.md#held-against-other-clients)).
"""

TRANSFER = """## What does not transfer to other machines

- **Absolute figures.** They swing by a factor of two on the same machine, which is shared with others. Ratios come from
  one run, with servers in turn.
- **Ratios of int8.** They depend on the processor's instructions for it: AVX-512 VNNI here. Without them int8 gains
  little; with AMX bf16 is faster than here.
- **The size of the models.** They are small: of a short text's latency a large part is the way through HTTP and
  processes, which a larger model would hide. Batching gains more where reading the weights is what takes time.
- **The client shares the cores.** On two cores it takes some from the server that it measures, more from the faster
  one.
- **GPUs.** Nothing was measured on one.

Run it on yours: `make bench`.
"""


def page(results: Path = RESULTS) -> str:
    """The whole page."""
    made = [HEAD, *(section(results) for section in SECTIONS), TRANSFER]
    return "\n".join(part.strip() + "\n" for part in made if part.strip())


def write_page(path: Path = PAGE, results: Path = RESULTS) -> None:
    path.write_text(page(results), encoding="utf-8")


def latest(results: Path, ending: str, file: str = RESULT) -> Path | None:
    """The newest folder `<date>-<commit>-<ending>`, by its result's own date; `file` is what it must have."""
    folders = [one.parent for one in results.glob(f"*-{ending}*/{file}") if _ends(one.parent.name, ending)]
    return max(folders, key=lambda folder: (_date(folder), folder.name), default=None)


def _date(folder: Path) -> str:
    """The result's own where it has one; else the folder's."""
    known = (folder / RESULT).exists()
    return str(read_result(folder).get("date", "")) if known else folder.name[:10]


def _ends(name: str, ending: str) -> bool:
    """Also with a number, where there are several of a day and a commit."""
    head, _, number = name.rpartition("-")
    return name.endswith(f"-{ending}") or (number.isdigit() and head.endswith(f"-{ending}"))


def link(path: Path) -> str:
    """As the page names it."""
    return os.path.relpath(path, PAGE.parent)


def table(results: Path) -> str:
    """The article's table."""
    folder = latest(results, "table")
    if folder is None:
        return ""
    result = read_result(folder)
    picture = f"![Baseline and optimized, here and in the article]({link(folder / 'table.png')})"
    return f"{TABLE}\n{markdown(result)}\n{picture}\n\nAll of it: [{folder.name}]({link(folder)}).\n"


def nodes(results: Path) -> str:
    """Several nodes."""
    return part(results, "nodes", NODES, "")


def scaling(results: Path) -> str:
    """Loads that change: each that is kept."""
    found = [part(results, f"scaling-{name}", "", f"{name}/timeline.png") for name in ("step", "burst", "day")]
    kept = [one for one in found if one]
    return "\n".join([SCALING, *kept]) if kept else ""


def faults(results: Path) -> str:
    """A node that is lost."""
    return part(results, "faults", FAULTS, f"{RUN}/timeline.png")


def agreement(results: Path) -> str:
    """Our client against others."""
    folder = latest(results, "agreement", "agreement.json")
    if folder is None:
        return ""
    table = (folder / "agreement.md").read_text(encoding="utf-8").strip()
    return f"{AGREEMENT}\n{table}\n\nAll of it: [{folder.name}]({link(folder)}).\n"


def part(results: Path, ending: str, intro: str, picture: str) -> str:
    """What is kept of a part, with its picture where there is one."""
    folder = latest(results, ending)
    if folder is None:
        return ""
    shown = f"![{ending}]({link(folder / picture)})\n\n" if picture and (folder / picture).exists() else ""
    return f"{intro}\n{parts_page(folder)}\n{shown}All of it: [{folder.name}]({link(folder)}).\n"


SECTIONS: tuple[Section, ...] = (table, nodes, scaling, faults, agreement)
