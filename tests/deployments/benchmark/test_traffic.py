from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

from cluster.nodes.namespaces import Network, Place
from deployments.benchmark.traffic import Counters, count_bytes, traffic


def test_the_counters_are_the_kernels(tmp_path: Path) -> None:
    network = Network("sl0000", IPv4Network("10.64.0.0/24"), tmp_path)
    for number, name in enumerate(("head", "node-1")):
        network.places[name] = Place(name, f"sl0000-{name}", f"10.64.0.{number + 2}", f"sl0000-{number}")
    for number, interface in enumerate(("sl0000", "sl0000-0", "sl0000-1")):
        (tmp_path / interface / "statistics").mkdir(parents=True)
        (tmp_path / interface / "statistics" / "rx_bytes").write_text(f"{number}00\n")
        (tmp_path / interface / "statistics" / "tx_bytes").write_text(f"{number}50\n")
    found = count_bytes(network, tmp_path)
    # A cable's end in the root namespace receives what the node sends.
    assert found == Counters({"head": 100, "node-1": 200}, {"head": 150, "node-1": 250}, from_nodes=0, to_nodes=50)


def test_what_nodes_send_each_other_is_what_does_not_leave_them() -> None:
    before = Counters({"head": 10, "a": 20, "b": 30}, {"head": 5, "a": 5, "b": 5}, from_nodes=4, to_nodes=2)
    # a sends 700 to b, b 40 to a, the head 50 to a and 300 to the client, which sends it 90.
    after = Counters({"head": 360, "a": 720, "b": 70}, {"head": 95, "a": 95, "b": 705}, from_nodes=304, to_nodes=92)
    found = traffic(before, after)
    assert found.between == 700 + 40 + 50
    assert found.client == 300 + 90
    assert found.sent == {"head": 350, "a": 700, "b": 40}
    assert found.received == {"head": 90, "a": 90, "b": 700}
    nothing = traffic(before, before)
    assert (nothing.between, nothing.client) == (0, 0)
