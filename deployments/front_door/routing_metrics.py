"""What the routers of all models tell at `/metrics`: variants and their states, which one is preferred, steps between
them, what is promised, and streams that went on at another replica."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from deployments.front_door.objective_metrics import limits_s
from deployments.front_door.served_models import ServedModel
from deployments.variants import VariantState

Families = Iterator[CounterMetricFamily | GaugeMetricFamily]

LABELS = ("model_name", "engine")
STATES: tuple[VariantState, ...] = get_args(VariantState)
RESUMED = ("died", "silent")  # how a stream's replica was lost; there from the start, so that a rate sees the first one


class RoutingMetrics(Collector):
    """Reads the routers when it is asked, for models come while the front door runs. `ready` is what `/ready` asks."""

    def __init__(self, models: Mapping[str, ServedModel], ready: Callable[[], bool]) -> None:
        self.models = models
        self.ready = ready

    def collect(self) -> Families:
        models = list(self.models.values())
        ready = GaugeMetricFamily("stageline:ready", "1 where every model of the configuration can answer.")
        ready.add_metric((), float(self.ready()))
        yield ready
        yield from variants(models)
        yield from steps(models)
        yield objectives(models)


def variants(models: Iterable[ServedModel]) -> Families:
    """What each variant is like at present."""
    replicas = GaugeMetricFamily(
        "stageline:variant_replicas", "Replicas of a variant that tell of themselves.", labels=LABELS
    )
    state = GaugeMetricFamily(
        "stageline:variant_state", "1 for the state that a variant is in.", labels=(*LABELS, "state")
    )
    quality = GaugeMetricFamily(
        "stageline:variant_quality", "Share of the model's quality that a variant keeps.", labels=LABELS
    )
    measured = GaugeMetricFamily(
        "stageline:variant_quality_measured",
        "1 for a variant whose quality was measured, as the gate wants it.",
        labels=LABELS,
    )
    preferred = GaugeMetricFamily(
        "stageline:variant_preferred", "1 for the variant that takes all requests at present.", labels=LABELS
    )
    pressed = GaugeMetricFamily(
        "stageline:variant_pressed", "1 for a variant that had to pass requests on of late.", labels=LABELS
    )
    open_ = GaugeMetricFamily(
        "stageline:variant_open_requests",
        "Requests that the front door sent to a variant and has no answer to.",
        labels=LABELS,
    )
    for model in models:
        router = model.router
        names = router.pressed
        for variant in router.variants:
            labels = (model.name, variant.name)
            replicas.add_metric(labels, variant.replicas)
            quality.add_metric(labels, variant.quality)
            measured.add_metric(labels, float(variant.measured))
            preferred.add_metric(labels, float(variant.name == router.preferred))
            pressed.add_metric(labels, float(variant.name in names))
            open_.add_metric(labels, router.counts.of(variant.name).open)
            for one in STATES:
                state.add_metric((*labels, one), float(variant.state == one))
    yield from (replicas, state, quality, measured, preferred, pressed, open_)


def steps(models: Iterable[ServedModel]) -> Families:
    """What has happened so far."""
    steps = CounterMetricFamily(
        "stageline:variant_steps",
        "Changes of the preferred variant, and why.",
        labels=("model_name", "from", "to", "reason"),
    )
    resumptions = CounterMetricFamily(
        "stageline:stream_resumptions",
        "Streams that went on at another replica, and how theirs was lost.",
        labels=(*LABELS, "cause"),
    )
    for model in models:
        router = model.router
        for (before, after, cause), count in list(router.steps.items()):
            steps.add_metric((model.name, before, after, cause), count)
        none = {(variant.name, cause): 0 for variant in router.variants for cause in RESUMED}
        for (name, cause), count in (none | dict(router.resumptions)).items():
            resumptions.add_metric((model.name, name, cause), count)
    yield from (steps, resumptions)


def objectives(models: Iterable[ServedModel]) -> GaugeMetricFamily:
    """What is promised."""
    family = GaugeMetricFamily(
        "stageline:objective_seconds", "What is promised for a model's answers.", labels=("model_name", "part")
    )
    for model in models:
        for part, seconds in limits_s(model.objective).items():
            family.add_metric((model.name, part), seconds)
    return family
