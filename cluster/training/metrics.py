"""The metrics file, one JSON object a line, and the picture of its curves."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class MetricsFile:
    """Appends lines. Opened for a resumed training, it is cut to what it was at the checkpoint."""

    def __init__(self, path: Path, *, keep_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        if self._file.tell() > keep_bytes:
            self._file.truncate(keep_bytes)
        self._file.seek(0, os.SEEK_END)

    @property
    def size(self) -> int:
        return self._file.tell()

    def write(self, values: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(dict(values)).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class MetricsReader:
    """Follows a metrics file that another process writes; the file may come later, or be cut."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def new_lines(self) -> list[dict[str, Any]]:
        """The lines since the last call. A line that is not whole yet comes the next time."""
        try:
            with self._path.open("rb") as file:
                # A file that was cut and has grown again since the last call is another: its lines begin elsewhere.
                file.seek(max(0, self._read - 1))
                if self._read and file.read(1) != b"\n":
                    self._read = 0
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.split(b"\n") if line.strip()]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a metrics file."""
    return MetricsReader(path).new_lines()


def draw(path: Path, picture: Path, *, title: str) -> None:
    """Loss by step (training, validation), and the learning rate below it, as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    lines = read_metrics(path)
    figure, (upper, lower) = pyplot.subplots(
        2, 1, figsize=(8, 6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    for key, label in (("loss", "training"), ("valid_loss", "validation")):
        points = [(line["step"], line[key]) for line in lines if key in line]
        if points:
            upper.plot(*zip(*points, strict=True), label=label, marker="o" if key == "valid_loss" else None, ms=3)
    rates = [(line["step"], line["learning_rate"]) for line in lines if "learning_rate" in line]
    if rates:
        lower.plot(*zip(*rates, strict=True), color="gray")
    upper.set(title=title, ylabel="loss")
    upper.grid(alpha=0.3)
    upper.legend()
    lower.set(xlabel="step", ylabel="learning rate")
    lower.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)
    pyplot.close(figure)
