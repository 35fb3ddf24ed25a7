"""What the benchmark of generation measures, and of whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deployments.bench import generation_peers
from deployments.bench.run import Work, bench_engine, choose_generator, generation_works
from deployments.settings import load_settings
from engine.errors import ConfigError

CONFIG = """
models:
  - {name: sentences, task: embedding, source: encoder}
  - {name: small, source: small, variants: [{precision: bf16}, {precision: fp32}]}
  - {name: large, source: large}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for name in ("encoder", "small", "large"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    path = tmp_path / "serve.yaml"
    path.write_text(CONFIG.replace("source: ", f"source: {tmp_path}/"))
    return path


@pytest.mark.parametrize(
    ("asked", "found"),
    [("", "small:bf16"), ("small", "small:bf16"), ("small:fp32", "small:fp32"), ("large", "large:bf16")],
)
def test_the_variant_is_chosen_by_name(config: Path, asked: str, found: str) -> None:
    chosen = choose_generator(load_settings(config), asked, Console(quiet=True))
    assert chosen.asked == found
    assert chosen.path.name == chosen.model.name
    assert chosen.cores >= 1


@pytest.mark.parametrize(
    ("asked", "told"), [("small:int9", "no variant int9"), ("tiny", "no model tiny"), ("sentences", "bench texts")]
)
def test_what_cannot_be_measured_is_told(config: Path, asked: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        choose_generator(load_settings(config), asked, Console(quiet=True))


def test_peers_need_the_file_that_they_read(config: Path) -> None:
    with pytest.raises(ConfigError, match="read GGUF"):
        bench_engine(load_settings(config), Work(2, 4, 5, 1), Console(quiet=True), "small", Path("python"))


class Counting:
    """A contender that takes a second for each token that it reads or writes."""

    def __init__(self) -> None:
        self.commands: list[dict[str, Any]] = []

    def run(self, **command: Any) -> dict[str, Any]:
        self.commands.append(command)
        tokens = command["streams"] * command["tokens"]
        return {"seconds": tokens + command["streams"] * command["prompt"], "tokens": tokens}


def test_everybody_gets_the_same_work() -> None:
    one, other = Counting(), Counting()
    for measure in generation_works(Work(streams=8, tokens=16, prompt=4, rounds=1)).values():
        assert measure(one) == measure(other)  # type: ignore[arg-type]
    assert one.commands == other.commands
    assert [command["streams"] for command in one.commands] == [1, 8, 1]
    works = generation_works(Work(streams=8, tokens=16, prompt=4, rounds=1))
    assert works["8 streams"](one) == 16 / 20  # type: ignore[arg-type]
    assert works["prefill of 512"](one) == 512 / 513  # type: ignore[arg-type]


def test_no_two_prompts_of_a_peer_begin_alike() -> None:
    found = generation_peers.prompts(32, 5)
    assert {len(prompt) for prompt in found} == {5}
    assert len({prompt[0] for prompt in found}) == 32
