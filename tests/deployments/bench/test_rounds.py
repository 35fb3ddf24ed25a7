from __future__ import annotations

from io import StringIO

from rich.console import Console

from deployments.bench.rounds import alternate, summary


def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    turns: list[str] = []

    def measure(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    samples = alternate({"a": lambda: measure("a"), "b": lambda: measure("b")}, 2, Console(file=StringIO()))
    assert turns == ["a", "b"] * 3
    assert samples == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_a_summary_keeps_the_samples() -> None:
    found = summary({"a": [3.0, 1.0, 2.0]})["a"]
    assert found == {"median": 2.0, "min": 1.0, "max": 3.0, "samples": [3.0, 1.0, 2.0]}
