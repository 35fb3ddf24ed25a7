"""Joins metrics of several processes into one page of Prometheus' text format, each family once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

log = logging.getLogger("stageline.front_door")


class _Fixed(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def page_of(registry: CollectorRegistry, labels: Mapping[str, str]) -> str:
    """The registry's metrics, every series with these labels beside its own."""
    return generate_latest(_page(_labelled(registry, labels))).decode()


def merge(registry: CollectorRegistry, texts: Iterable[str], labels: Mapping[str, str] | None = None) -> bytes:
    """The registry's metrics, with these labels beside their own, and those of `texts`, by family. Equal series (name
    and labels) are added up, except that of shares (`*_perc`) the largest counts. A text that cannot be read is left
    out and logged."""
    families: dict[str, Metric] = {}
    series: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], Sample]] = {}
    for family in _families(registry, texts, labels or {}):
        known = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        if known.type != family.type:
            log.warning("metric %s is a %s here and a %s there; the latter is left out", *_clash(known, family))
            continue
        found = series.setdefault(family.name, {})
        for sample in family.samples:
            if sample.name.endswith("_created"):
                continue
            key = (sample.name, tuple(sorted(sample.labels.items())))
            before = found.get(key)
            if before is not None:
                largest = family.name.endswith("_perc")
                value = max(before.value, sample.value) if largest else before.value + sample.value
                sample = sample._replace(value=value)
            found[key] = sample
    for name, family in families.items():
        family.samples = list(series.get(name, {}).values())
    return generate_latest(_page(families.values()))


def _page(families: Iterable[Metric]) -> CollectorRegistry:
    page = CollectorRegistry(auto_describe=False)
    page.register(_Fixed(list(families)))
    return page


def _labelled(registry: CollectorRegistry, labels: Mapping[str, str]) -> Iterator[Metric]:
    for family in registry.collect():
        family.samples = [sample._replace(labels={**sample.labels, **labels}) for sample in family.samples]
        yield family


def _clash(known: Metric, other: Metric) -> tuple[str, str, str]:
    return known.name, known.type, other.type


def _families(registry: CollectorRegistry, texts: Iterable[str], labels: Mapping[str, str]) -> Iterator[Metric]:
    yield from _labelled(registry, labels)
    for text in texts:
        try:
            yield from list(text_string_to_metric_families(text))
        except ValueError as error:
            log.warning("another process's metrics could not be read: %s", error)
