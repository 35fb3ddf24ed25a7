"""Watchdogs of the front door and of replicas, and how often they found something: `stageline:stalls_total`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from cluster.watch_limits import limits_here
from cluster.watching import watch
from engine.watchdog import Suspect, Turns, Watchdog

STEP, EVENTS = "step", "events"
"""What may hang: a step of the engine, a turn of the event loop."""

LABELS = ("model_name", "engine", "replica", "what")
"""Replicas are series of their own: added up, one that ends would look like a counter that began anew."""


def stall_family(
    stalls: Mapping[str, int], model: str = "", variant: str = "front-door", replica: str = ""
) -> CounterMetricFamily:
    """By what has hung. All series are there from the start, so that a rate sees the first."""
    family = CounterMetricFamily(
        "stageline:stalls", "Times that a step or an event loop hung; the log says where its stacks are.", labels=LABELS
    )
    for what, count in stalls.items():
        family.add_metric((model, variant, replica, what), count)
    return family


def event_loop(events: asyncio.AbstractEventLoop) -> Suspect:
    """An event loop to be watched."""
    return Suspect(EVENTS, Turns(events).busy_s, limits_here().events_s)


class _Stalls(Collector):
    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield stall_family(self._watchdog.stalls())


def watch_front_door(registry: CollectorRegistry) -> Watchdog:
    """Watches the event loop that this is called in, and tells of it in the registry."""
    watchdog = watch("the front door", [event_loop(asyncio.get_running_loop())])
    registry.register(_Stalls(watchdog))
    return watchdog
