"""A profile of threads that compute, taken from another one."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
import torch

from engine import profiling
from engine.errors import Busy
from engine.spans import span


@pytest.fixture
def computing() -> Iterator[threading.Thread]:
    """A thread that multiplies, under a name."""
    ended = threading.Event()

    def compute() -> None:
        matrix = torch.ones(16, 16)
        while not ended.wait(0.002):
            with span("a step"):
                torch.mm(matrix, matrix)

    thread = threading.Thread(target=compute, name="computing")
    thread.start()
    yield thread
    ended.set()
    thread.join(10.0)


def test_what_a_running_thread_computes_is_in_it(computing: threading.Thread) -> None:
    profiling.prepare()
    part = profiling.take(0.3)
    assert part.pid == os.getpid()
    assert part.threads[computing.native_id or 0] == "computing"
    trace = json.loads(gzip.decompress(part.trace))
    theirs = Counter(e["name"] for e in trace["traceEvents"] if e.get("tid") == computing.native_id)
    assert theirs["aten::mm"] > 0
    assert theirs["a step"] > 0


def test_spans_are_nothing_without_a_profile() -> None:
    assert span("a") is span("b")


def test_one_at_a_time(computing: threading.Thread) -> None:
    profiling.prepare()
    failed: list[Exception] = []

    def take() -> None:
        try:
            profiling.take(0.5)
        except Busy as error:
            failed.append(error)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    assert len(failed) == 1
    profiling.take(0.01)  # and afterwards it can be taken again
