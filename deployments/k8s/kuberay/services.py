"""What a RayService says of itself: its upgrades, its timeouts, its configuration as text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from deployments.k8s.objects import Fault, KubeObject, get, of_kind

_STRATEGIES = ("NewCluster", "NewClusterWithIncrementalUpgrade", "None")
_TIMEOUT = "ray.io/initializing-timeout"
_GO_DURATION = re.compile(r"(\d+(\.\d*)?(ns|us|ms|s|m|h))+")


def upgrades(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """`upgradeStrategy` and what the gradual one needs."""
    for one in of_kind(objects, "RayService"):
        path = "spec.upgradeStrategy"
        kind = get(one.data, f"{path}.type")
        if kind is not None and kind not in _STRATEGIES:
            yield Fault(one, f"{path}.type", f"{kind} is not one of {', '.join(_STRATEGIES)}")
        delay = get(one.data, "spec.rayClusterDeletionDelaySeconds", 0)
        if isinstance(delay, int) and delay < 0:
            yield Fault(one, "spec.rayClusterDeletionDelaySeconds", "it cannot be negative")
        if get(one.data, "spec.rayClusterConfig.upgradeStrategy.type"):
            at = "spec.rayClusterConfig.upgradeStrategy"
            yield Fault(one, at, "a RayService's cluster is upgraded by spec.upgradeStrategy: leave this one out")
        if kind == "NewClusterWithIncrementalUpgrade":
            yield from _incremental(one, f"{path}.clusterUpgradeOptions")


def _incremental(one: KubeObject, path: str) -> Iterator[Fault]:
    if get(one.data, "spec.rayClusterConfig.enableInTreeAutoscaling") is not True:
        yield Fault(
            one,
            "spec.rayClusterConfig.enableInTreeAutoscaling",
            "NewClusterWithIncrementalUpgrade needs the autoscaler",
        )
    options = get(one.data, path)
    if options is None:
        yield Fault(one, path, "NewClusterWithIncrementalUpgrade needs these")
        return
    surge = options.get("maxSurgePercent", 100)
    step = options.get("stepSizePercent")
    if not _between(surge, 0, 100):
        yield Fault(one, f"{path}.maxSurgePercent", f"{surge} is not between 0 and 100")
    elif not _between(step, 0, 100):
        yield Fault(one, f"{path}.stepSizePercent", f"{step} is not between 0 and 100")
    elif step > surge:
        yield Fault(one, f"{path}.stepSizePercent", f"{step} is more than maxSurgePercent, {surge}")
    if not _between(options.get("intervalSeconds"), 1, None):
        yield Fault(one, f"{path}.intervalSeconds", "a number above 0 is needed")
    if not options.get("gatewayClassName"):
        yield Fault(one, f"{path}.gatewayClassName", "the gradual upgrade needs the class of a gateway")


def initializing_timeout(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """The annotation after which a new cluster is given up."""
    for one in of_kind(objects, "RayService"):
        text = str(get(one.data, "metadata.annotations", {}).get(_TIMEOUT, ""))
        good = _GO_DURATION.fullmatch(text) or re.fullmatch(r"\d+", text)
        if text and not (good and re.search("[1-9]", text)):
            yield Fault(one, f"metadata.annotations.{_TIMEOUT}", f"{text!r} is neither 30m nor a number of seconds")


def serve_text(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """`serveConfigV2` is one text, which KubeRay hands to Serve: it has to be YAML, with applications."""
    for one in of_kind(objects, "RayService"):
        text = get(one.data, "spec.serveConfigV2", "")
        try:
            config = yaml.safe_load(text)
        except yaml.YAMLError as error:
            yield Fault(one, "spec.serveConfigV2", f"not valid YAML: {' '.join(str(error).split())}")
            continue
        if not isinstance(config, dict) or not config:
            yield Fault(one, "spec.serveConfigV2", "there is nothing in it that Serve could read")


def _between(value: Any, least: int, most: int | None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least and (most is None or value <= most)
