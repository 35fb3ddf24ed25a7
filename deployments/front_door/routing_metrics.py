"""What the routers of all models tell at `/metrics`: steps between variants, which one is preferred, and streams that
went on at another replica."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from deployments.front_door.served_models import ServedModel


class RoutingMetrics(Collector):
    """Reads the routers when it is asked, for models come while the front door runs."""

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self.models = models

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        steps = CounterMetricFamily(
            "stageline:variant_steps",
            "Changes of the preferred variant, and why.",
            labels=("model_name", "from", "to", "reason"),
        )
        preferred = GaugeMetricFamily(
            "stageline:variant_preferred",
            "1 for the variant that takes all requests at present.",
            labels=("model_name", "engine"),
        )
        open_ = GaugeMetricFamily(
            "stageline:variant_open_requests",
            "Requests that the front door sent to a variant and has no answer to.",
            labels=("model_name", "engine"),
        )
        resumptions = CounterMetricFamily(
            "stageline:stream_resumptions",
            "Streams that went on at another replica, and how theirs was lost.",
            labels=("model_name", "engine", "cause"),
        )
        for model in list(self.models.values()):
            router = model.router
            for (before, after, cause), count in list(router.steps.items()):
                steps.add_metric((model.name, before, after, cause), count)
            for (name, cause), count in list(router.resumptions.items()):
                resumptions.add_metric((model.name, name, cause), count)
            for variant in router.variants:
                labels = (model.name, variant.name)
                preferred.add_metric(labels, float(variant.name == router.preferred))
                open_.add_metric(labels, router.counts.of(variant.name).open)
        yield from (steps, preferred, open_, resumptions)
