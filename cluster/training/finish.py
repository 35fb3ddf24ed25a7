"""What a finished training leaves: the model's folder with its card, the curve, a summary."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.training.card import model_card
from cluster.training.checkpoints import Position
from cluster.training.metrics import draw
from cluster.training.recipe import RunFolder
from cluster.training.task import Prepared, Task


@dataclass(frozen=True, slots=True)
class About:
    """What the card says that only the person who trains knows. `command` is how the training was begun."""

    command: str = ""
    title: str = ""
    data: str = ""  # name, origin and licence
    licence: str = ""
    limits: str = ""


def finish(
    task: Task,
    prepared: Prepared,
    run: RunFolder,
    identity: Mapping[str, Any],
    position: Position,
    about: About,
    origin: Mapping[str, Any],
) -> dict[str, float]:
    """Export, measure what was exported, describe it. The model's folder appears complete, with one rename."""
    new = run.path / ".model-writing"
    shutil.rmtree(new, ignore_errors=True)
    prepared.export(new)
    for file in new.iterdir():
        file.chmod(0o644)  # weights are written through temporary files, which only their owner may read
    quality = dict(prepared.evaluate(new))
    made_with = {**origin, "hours": round(position.seconds / 3600, 2)}
    (new / "README.md").write_text(
        model_card(task.name, about, identity=identity, quality=quality, origin=made_with, steps=position.step),
        encoding="utf-8",
    )
    _replace(new, run.model)
    draw(run.metrics, run.picture, title=about.title or task.name)
    summary = {
        "task": task.name,
        "command": about.command,
        "recipe": dict(identity),
        "steps": position.step,
        "quality": quality,
        "made_with": made_with,
    }
    run.summary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return quality


def _replace(new: Path, folder: Path) -> None:
    old = folder.with_name(".model-old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
