"""Makes the attacks, one after another, and puts together what came of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from rich.console import Console
from rich.table import Table

from deployments.attacks.outcome import Outcome
from deployments.attacks.registry import Listed
from deployments.attacks.scene import Scene, own_server, scene_at
from deployments.bench.machine import provenance


def make_attacks(attacks: Sequence[Listed], console: Console, url: str | None, key: str | None) -> dict[str, Any]:
    """Starts a server where one is needed and none is named. Raises EngineFailed where it does not start."""
    made = []
    with ExitStack() as stack:
        scene: Scene | None = None
        for attack in attacks:
            if attack.needs_server and scene is None:
                scene = scene_at(url, key=key) if url else _started(stack, console)
            console.print(f"{attack.name}: {attack.does}", highlight=False)
            began = time.monotonic()
            outcome = _one(attack, scene)
            console.print(f"  {outcome.verdict} after {time.monotonic() - began:.0f} s", highlight=False)
            for fault in outcome.faults:
                console.print(f"  {fault[:500]}", style="red", markup=False, highlight=False)
            made.append(
                {
                    "name": attack.name,
                    "does": attack.does,
                    "expects": attack.expects,
                    "verdict": outcome.verdict,
                    "skipped": outcome.skipped,
                    "faults": outcome.faults,
                    "seen": outcome.seen,
                    "seconds": round(time.monotonic() - began, 1),
                }
            )
    return {"benchmark": "attacks", **provenance(), "attacks": made, "failed": sum(bool(one["faults"]) for one in made)}


def _started(stack: ExitStack, console: Console) -> Scene:
    console.print("Starting a server to attack ...")
    return stack.enter_context(own_server())


def _one(attack: Listed, scene: Scene | None) -> Outcome:
    """An attack that fails by itself counts as one that was not withstood: nobody knows what it met."""
    try:
        if attack.alone is not None:
            return attack.alone()
        assert attack.at_server is not None
        assert scene is not None
        return attack.at_server(scene)
    except Exception as error:
        return Outcome(faults=[f"the attack itself failed: {type(error).__name__}: {error}"])


def table_of(result: dict[str, Any]) -> Table:
    """A row for each attack."""
    table = Table("attack", "result", "seen", title=f"Attacks, commit {result['commit']}")
    for one in result["attacks"]:
        table.add_row(one["name"], one["verdict"], "; ".join(_words(one)))
    return table


def _words(one: dict[str, Any]) -> Iterator[str]:
    seen = one["seen"]
    if one["skipped"]:
        yield str(one["skipped"])
    if "cases" in seen:
        yield f"{seen['refused']} of {seen['cases']} refused, {seen['slowest_s']} s and {seen['most_mib']} MiB at most"
    if "honest" in seen:
        shown = [f"{path} x{ratio}" for path, ratio in seen["honest"]["during"].items()]
        yield f"honest callers meanwhile {', '.join(shown)}, slowest {seen['slowest_honest_s']} s"
    if "mib" in seen:
        yield f"{seen['mib'][0]} MiB before, {seen['mib'][1]} after"
        yield f"{seen['open_files'][0]} files open before, {seen['open_files'][1]} after"
    if one["faults"]:
        yield f"{len(one['faults'])} faults"
