"""Replicas that die or hang under streams of every kind: callers see a pause, and the very same answers."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deployments.server.running import Server, start_with
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.model]

MODEL, ALONE = "pair", "alone"
"""Two replicas, and one."""

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}, "minItems": 12}},
    "required": ["name", "tags"],
}
LENGTH = 120
ENDLESS = {"ignore_eos": True, "max_tokens": LENGTH}
BODIES: dict[str, dict[str, Any]] = {
    "greedy": {"prompt": "Once upon a time", "temperature": 0, **ENDLESS},
    "seeded": {"prompt": "The sea", "temperature": 1.1, "seed": 7, "top_p": 0.9, **ENDLESS},
    "stop string": {"prompt": "Count: one, two,", "temperature": 0, "stop": [" twenty", "zebra"], **ENDLESS},
    "penalties": {
        "prompt": "A list of words:",
        "temperature": 0,
        "repetition_penalty": 1.2,
        "presence_penalty": 0.3,
        "frequency_penalty": 0.4,
        **ENDLESS,
    },
    "logprobs": {"prompt": "My name is", "temperature": 0.8, "seed": 3, "logprobs": 3, **ENDLESS},
    "schema": {
        "prompt": "A person as JSON: ",
        "temperature": 0.7,
        "seed": 11,
        "max_tokens": LENGTH,
        "response_format": {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}},
    },
    "two answers": {"prompt": "In the morning", "temperature": 1.0, "seed": 5, "n": 2, **ENDLESS},
    "echo": {"prompt": "It was a dark night", "temperature": 0, "echo": True, "logprobs": 1, **ENDLESS},
    "least": {"prompt": "Yes or no?", "temperature": 0, "min_tokens": LENGTH // 2, "max_tokens": LENGTH},
    "whole": {"prompt": "The king said", "temperature": 0.9, "seed": 1, "stream": False, **ENDLESS},
}


class Reading:
    """One request, read on a thread of its own: its answer put together, and the times at which parts of it came."""

    def __init__(self, server: Server, body: dict[str, Any]) -> None:
        self.body = {"stream": True, **body}
        if self.body["stream"]:
            self.body["stream_options"] = {"include_usage": True}
        self.answer: dict[str, Any] = {}
        self.times: list[float] = []
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._read, args=(server,), daemon=True)
        self._thread.start()

    def _read(self, server: Server) -> None:
        try:
            with httpx.stream("POST", f"{server.url}/v1/completions", json=self.body, timeout=120) as response:
                if not self.body["stream"] or response.status_code != 200:
                    self.answer = {"status": response.status_code, **json.loads(response.read())}
                    return
                for line in response.iter_lines():
                    if line:
                        self.times.append(time.monotonic())
                        self._add(line.removeprefix("data: "))
        except Exception as error:
            self.failure = error

    def _add(self, line: str) -> None:
        if line == "[DONE]":
            self.answer["done"] = True
            return
        event = json.loads(line)
        if "error" in event:
            self.answer["error"] = event["error"]
            return
        if event.get("usage"):
            self.answer["usage"] = event["usage"]
        for choice in event["choices"]:
            whole = self.answer.setdefault("choices", {}).setdefault(
                choice["index"], {"text": "", "logprobs": [], "finish_reason": None}
            )
            whole["text"] += choice["text"]
            whole["finish_reason"] = choice["finish_reason"] or whole["finish_reason"]
            if choice["logprobs"]:
                whole["logprobs"] += zip(*(choice["logprobs"][key] for key in sorted(choice["logprobs"])), strict=True)

    def result(self) -> dict[str, Any]:
        """Waits for the end."""
        self._thread.join(120)
        assert not self._thread.is_alive(), "the answer does not end"
        assert self.failure is None, self.failure
        return {key: value for key, value in self.answer.items() if key not in ("id", "created")}

    @property
    def longest_pause_s(self) -> float:
        return max((after - before for before, after in zip(self.times, self.times[1:], strict=False)), default=0.0)


def begin(server: Server, model: str, names: Iterator[str] | list[str]) -> dict[str, Reading]:
    return {name: Reading(server, {"model": model, **BODIES[name]}) for name in names}


def results(readings: dict[str, Reading]) -> dict[str, dict[str, Any]]:
    return {name: reading.result() for name, reading in readings.items()}


def resumptions(server: Server) -> dict[tuple[str, str], float]:
    """By model and cause."""
    found: dict[tuple[str, str], float] = {}
    for line in httpx.get(f"{server.url}/metrics", timeout=30).text.splitlines():
        if line.startswith("stageline:stream_resumptions_total{"):
            labels, value = line.split("{")[1].split("} ")
            told = dict(pair.split("=") for pair in labels.replace('"', "").split(","))
            found[told["model_name"], told["cause"]] = float(value)
    return found


@pytest.fixture(scope="module")
def server(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    common = {
        "source": str(demo_model),
        "kv_cache": "96MiB",
        "max_model_len": 1024,
        "max_running": 24,
        "prefix_cache": False,
    }
    models = [
        {
            **common,
            "name": name,
            "variants": [{"precision": "fp32", "replicas": {"min": count, "max": count}}],
        }
        for name, count in ((MODEL, 2), (ALONE, 1))
    ]
    server = start_with({"models": models}, tmp_path_factory.mktemp("server"))
    wait_until(lambda: len(server.replicas(MODEL)) == 2, "both replicas answer")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def undisturbed(server: Server) -> dict[str, dict[str, Any]]:
    return results(begin(server, MODEL, list(BODIES)))


def busiest(server: Server, model: str) -> dict[str, Any]:
    return max(server.replicas(model), key=lambda replica: replica["running"])


def assert_equal(found: dict[str, dict[str, Any]], expected: dict[str, dict[str, Any]]) -> None:
    for name, answer in found.items():
        assert {**answer, "model": None} == {**expected[name], "model": None}, name


def test_a_killed_replicas_streams_go_on_at_the_other(server: Server, undisturbed: dict[str, dict[str, Any]]) -> None:
    readings = begin(server, MODEL, list(BODIES))
    unseeded = Reading(server, {"model": MODEL, "prompt": "Hello", "temperature": 1.2, **ENDLESS})
    streams = [reading for reading in readings.values() if reading.body["stream"]]
    wait_until(lambda: all(len(reading.times) > 15 for reading in streams), "all streams run")
    os.kill(busiest(server, MODEL)["pid"], signal.SIGKILL)
    found = results(readings)
    print("longest pause after a kill:", max(reading.longest_pause_s for reading in streams))
    assert_equal(found, undisturbed)
    assert unseeded.result()["usage"]["completion_tokens"] == LENGTH
    assert resumptions(server)[MODEL, "died"] >= 1


def test_a_hanging_replicas_streams_go_on_at_the_other(server: Server, undisturbed: dict[str, dict[str, Any]]) -> None:
    wait_until(lambda: len(server.replicas(MODEL)) == 2, "both replicas answer")
    readings = begin(server, MODEL, list(BODIES))
    streams = [reading for reading in readings.values() if reading.body["stream"]]
    wait_until(lambda: all(len(reading.times) > 15 for reading in streams), "all streams run")
    hanging = busiest(server, MODEL)["pid"]
    os.kill(hanging, signal.SIGSTOP)
    try:
        found = results(readings)
        fresh = results(begin(server, MODEL, ["greedy", "whole"]))
    finally:
        os.kill(hanging, signal.SIGCONT)
    print("longest pause after a stop:", max(reading.longest_pause_s for reading in streams))
    assert_equal(found, undisturbed)
    assert_equal(fresh, undisturbed)
    assert resumptions(server)[MODEL, "silent"] >= 1


def test_the_only_replicas_streams_wait_for_the_next_one(
    server: Server, undisturbed: dict[str, dict[str, Any]]
) -> None:
    names = ["greedy", "logprobs", "whole"]
    readings = begin(server, ALONE, names)
    wait_until(lambda: all(len(readings[name].times) > 20 for name in names[:2]), "both streams run")
    (replica,) = server.replicas(ALONE)
    os.kill(replica["pid"], signal.SIGKILL)
    found = results(readings)
    print("longest pause without another:", max(readings[name].longest_pause_s for name in names))
    assert_equal(found, undisturbed)
    (after,) = server.replicas(ALONE)
    assert after["pid"] != replica["pid"]
