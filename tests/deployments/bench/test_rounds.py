from __future__ import annotations

from io import StringIO

from rich.console import Console

from deployments.bench.rounds import alternate, hardest, peer_name, ratios, summary


def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    turns: list[str] = []

    def measure(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    samples = alternate({"a": lambda: measure("a"), "b": lambda: measure("b")}, 2, Console(file=StringIO()))
    assert turns == ["a", "b", "b", "a", "a", "b"]
    assert samples == {"a": [4.0, 5.0], "b": [3.0, 6.0]}


def test_a_summary_keeps_the_samples() -> None:
    found = summary({"a": [3.0, 1.0, 2.0]})["a"]
    assert found == {"median": 2.0, "min": 1.0, "max": 3.0, "samples": [3.0, 1.0, 2.0]}


def test_ratios_are_medians_of_the_rounds_of_the_same_work() -> None:
    samples = {
        "1 stream": [10.0, 90.0, 20.0],
        peer_name("slow", "1 stream"): [5.0, 10.0, 1.0],
        peer_name("fast", "1 stream"): [40.0, 40.0, 80.0],
        "32 streams": [30.0],
        peer_name("slow", "32 streams"): [10.0],
        "http": [1.0],
    }
    found = ratios(samples, ["slow", "fast"])
    assert found == {"1 stream": {"slow": 9.0, "fast": 0.25}, "32 streams": {"slow": 3.0}}
    assert hardest(found["1 stream"]) == ("fast", 0.25)


def test_without_peers_there_is_nothing_to_compare() -> None:
    assert ratios({"1 stream": [1.0], peer_name("a", "1 stream"): [2.0]}, []) == {}
