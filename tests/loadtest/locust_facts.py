"""What Locust's own functions say, as JSON. Argument: the URL of the server with known timing.

A script of its own, for Locust changes much in the process that imports it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from locust import FastHttpUser, constant_throughput, task
from locust.env import Environment
from locust.stats import RequestStats

STREAM = {"prompt": "one two three", "stream": True, "max_tokens": 16}
ASKED = 20.0  # requests a second
SECONDS = 1.2


class Slow(FastHttpUser):
    """Asks for more than the server can do one after the other."""

    wait_time = constant_throughput(ASKED)

    @task
    def classify(self) -> None:
        self.client.post("/classify", json={"input": "a", "model": "delay=0.2"})


def environment(url: str) -> Environment:
    Slow.host = url
    return Environment(user_classes=[Slow])


def first_line(user: FastHttpUser) -> float:
    """Unix time at which `iter_lines` showed the first event."""
    lines = user.client.iter_lines("/v1/completions", "POST", json={**STREAM, "model": "ttft=0.1,gap=0.02"})
    next(line for line in lines if line.startswith("data:"))
    return time.time()


def response_time(user: FastHttpUser) -> dict[str, float]:
    """Of a stream, in seconds; and when it was asked for."""
    told: list[float] = []

    def listen(response_time: float, **others: Any) -> None:
        told.append(response_time / 1000)

    user.environment.events.request.add_listener(listen)
    asked_s = time.time()
    body = {**STREAM, "model": "ttft=0.5,gap=0.01"}
    with user.client.post("/v1/completions", stream=True, catch_response=True, json=body) as response:
        for _ in response.iter_content():
            pass
    return {"asked_s": asked_s, "response_time_s": told[0]}


def percentiles(times_ms: list[float]) -> list[float]:
    """p50 and p99."""
    stats = RequestStats()
    for one in times_ms:
        stats.log_request("POST", "a", one, 0)
    return [stats.total.get_response_time_percentile(share) for share in (0.5, 0.99)]


def requests_sent(url: str) -> int:
    runner = environment(url).create_local_runner()
    runner.start(1, spawn_rate=1)
    time.sleep(SECONDS)  # Locust has made it gevent's
    sent = int(runner.stats.total.num_requests)
    runner.quit()
    return sent


def main() -> None:
    url = sys.argv[1]
    user = Slow(environment(url))
    times_ms = [1310 + 0.3 * i for i in range(100)]
    facts = {
        "first_line_s": first_line(user),
        "stream": response_time(user),
        "times_ms": times_ms,
        "percentiles_ms": percentiles(times_ms),
        "asked": ASKED * SECONDS,
        "sent": requests_sent(url),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
