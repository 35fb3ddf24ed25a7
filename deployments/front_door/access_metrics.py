"""What is known of the API keys at `/metrics`: how many hold, and whether their file can be read."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from deployments.access.ring import KeyFile


class AccessMetrics(Collector):
    """Reads the key file's state when it is asked."""

    def __init__(self, keys: KeyFile) -> None:
        self.keys = keys

    def collect(self) -> Iterator[GaugeMetricFamily]:
        count = GaugeMetricFamily("stageline:api_keys", "API keys that the front door knows.")
        count.add_metric((), float(len(self.keys.ring.keys)))
        yield count
        broken = GaugeMetricFamily("stageline:api_keys_broken", "1 while the changed file of API keys is not right.")
        broken.add_metric((), float(self.keys.broken))
        yield broken
