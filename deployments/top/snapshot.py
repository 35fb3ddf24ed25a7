"""What a server tells at one moment: its metrics by name, and `/status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from engine.errors import EngineFailed

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`at_s` by a clock that does not jump. `samples` by the samples' names, `models` as in `/status`."""

    at_s: float
    samples: Mapping[str, Sequence[tuple[Labels, float]]] = field(default_factory=dict)
    models: Sequence[Mapping[str, Any]] = ()

    def matching(self, name: str, **labels: str) -> Iterator[tuple[Labels, float]]:
        """The series of a sample that have these labels."""
        for own, value in self.samples.get(name, ()):
            if all(own.get(key) == wanted for key, wanted in labels.items()):
                yield own, value

    def total(self, name: str, **labels: str) -> float:
        """Of all series with these labels, added up."""
        return sum(value for _, value in self.matching(name, **labels))

    def largest(self, name: str, **labels: str) -> float | None:
        """None where there is no such series."""
        return max((value for _, value in self.matching(name, **labels)), default=None)

    def buckets(self, histogram: str, **labels: str) -> dict[float, float]:
        """A histogram's counts up to each bound."""
        found: dict[float, float] = {}
        for own, value in self.matching(f"{histogram}_bucket", **labels):
            bound = float(own["le"])
            found[bound] = found.get(bound, 0.0) + value
        return found


def read(at_s: float, page: str, status: Mapping[str, Any]) -> Snapshot:
    """From Prometheus' text and the body of `/status`. Raises EngineFailed for what is neither."""
    samples: dict[str, list[tuple[Labels, float]]] = {}
    try:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append((sample.labels, sample.value))
        return Snapshot(at_s, samples, list(status["models"]))
    except (ValueError, KeyError, TypeError) as error:
        raise EngineFailed(f"The server does not answer as Stageline does: {error}.") from None
