"""Honest callers, in a process of their own so that an attack's own work does not slow them: each asks for something
small, again and again, over a new connection each time. One JSON line for each answer; it ends when its input does."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from deployments.attacks.scene import Scene

TIMEOUT_S = 30.0
PAUSE_S = 0.1
OWN_NAME = {"Authorization": "Bearer honest"}  # where no keys are asked for, callers are told apart by what they send
TURNED_AWAY = "turned away"  # the queue is full: an answer, and none that they want
_STOP_S = 40.0
_PRINTING = threading.Lock()


def requests_for(models: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """Path and body for each task that is served."""
    known: dict[str, tuple[str, dict[str, Any]]] = {
        "text-generation": (
            "/v1/completions",
            {"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0, "ignore_eos": True},
        ),
        "text-classification": ("/classify", {"input": "My card has not arrived yet."}),
        "translation": ("/translate", {"q": "A man plays the guitar.", "source": "en", "target": "de"}),
    }
    return [(path, {"model": models[task], **body}) for task, (path, body) in known.items() if task in models]


def main() -> None:
    told = json.loads(sys.stdin.readline())
    stop = threading.Event()
    threads = [
        threading.Thread(target=_ask, args=(told["url"], told["headers"], path, body, stop), daemon=True)
        for path, body in requests_for(told["models"])
    ]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join(TIMEOUT_S)


def _ask(url: str, headers: dict[str, str], path: str, body: dict[str, Any], stop: threading.Event) -> None:
    while not stop.is_set():
        began, at_s = time.monotonic(), time.time()
        try:
            status = httpx.post(f"{url}{path}", json=body, headers=headers, timeout=TIMEOUT_S).status_code
            fault = "" if status == 200 else TURNED_AWAY if status == 503 else f"status {status}"
        except httpx.HTTPError as error:
            fault = type(error).__name__
        with _PRINTING:
            print(json.dumps([path, at_s, time.monotonic() - began, fault]), flush=True)
        stop.wait(PAUSE_S)


@dataclass(slots=True)
class Heard:
    """What honest callers were told: path, begin (`time.time()`), seconds, and what was wrong."""

    answers: list[tuple[str, float, float, str]] = field(default_factory=list)

    def between(self, first_s: float, last_s: float) -> Heard:
        """Those that began in that time."""
        return Heard([one for one in self.answers if first_s <= one[1] < last_s])

    def median_s(self, path: str) -> float | None:
        found = [seconds for one, _, seconds, fault in self.answers if one == path and not fault]
        return statistics.median(found) if found else None

    def faults(self) -> list[str]:
        """Who was turned away is among them."""
        return [f"{path}: {fault}" for path, _, _, fault in self.answers if fault]

    def turned_away(self) -> int:
        return sum(fault == TURNED_AWAY for _, _, _, fault in self.answers)

    def slowest_s(self) -> float:
        return max((one[2] for one in self.answers), default=0.0)


@contextmanager
def honest_callers(scene: Scene) -> Iterator[Heard]:
    """Keeps asking during the context; all answers are there when it ends."""
    command = [sys.executable, "-m", "deployments.attacks.honest"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    headers = {**OWN_NAME, **scene.headers}
    told = {"url": scene.url, "headers": headers, "models": dict(scene.models)}
    process.stdin.write(json.dumps(told) + "\n")
    process.stdin.flush()
    heard = Heard()
    reader = threading.Thread(target=_collect, args=(process.stdout, heard), daemon=True)
    reader.start()
    try:
        yield heard
    finally:
        process.stdin.close()
        reader.join(_STOP_S)
        process.kill()
        process.wait(10)


def _collect(lines: Any, heard: Heard) -> None:
    for line in lines:
        path, at_s, seconds, fault = json.loads(line)
        heard.answers.append((path, at_s, seconds, fault))


def ratios(before: Heard, during: Heard) -> dict[str, float | None]:
    """By path, how many times as long the median answer took."""
    paths: Sequence[str] = sorted({one[0] for one in before.answers})
    found: dict[str, float | None] = {}
    for path in paths:
        then, now = before.median_s(path), during.median_s(path)
        found[path] = round(now / then, 2) if then and now else None
    return found


if __name__ == "__main__":
    main()
