"""Bytes over the network of a local cluster, as the kernel counts them at the nodes' cables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.nodes.namespaces import Network

INTERFACES = Path("/sys/class/net")


@dataclass(frozen=True, slots=True)
class Counters:
    """Bytes since the network was made: what each node has sent and received, and what this machine (the client, in the
    root namespace) has received from the nodes and sent to them."""

    sent: Mapping[str, int]
    received: Mapping[str, int]
    from_nodes: int
    to_nodes: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes between two looks at the counters. `between` is what nodes sent each other, `client` what the client and
    they sent each other. All of it counts, Ray's own messages too."""

    between: int
    client: int
    sent: Mapping[str, int]
    received: Mapping[str, int]


def count_bytes(network: Network, interfaces: Path = INTERFACES) -> Counters:
    """Looks at the counters of the root's ends of the cables: what a node sent is what they received."""
    cables = {name: place.cable for name, place in network.places.items()}
    return Counters(
        sent={name: _bytes(interfaces, cable, "rx") for name, cable in cables.items()},
        received={name: _bytes(interfaces, cable, "tx") for name, cable in cables.items()},
        from_nodes=_bytes(interfaces, network.name, "rx"),
        to_nodes=_bytes(interfaces, network.name, "tx"),
    )


def _bytes(interfaces: Path, interface: str, way: str) -> int:
    return int((interfaces / interface / "statistics" / f"{way}_bytes").read_text())


def traffic(before: Counters, after: Counters) -> Traffic:
    """What went over the cables meanwhile."""
    sent = {name: after.sent[name] - before.sent[name] for name in after.sent}
    received = {name: after.received[name] - before.received[name] for name in after.received}
    up, down = after.from_nodes - before.from_nodes, after.to_nodes - before.to_nodes
    return Traffic(max(0, sum(sent.values()) - up), up + down, sent, received)
