"""What the wire saw of a run: the same figures as a client's, and by our definitions."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from loadtest.agreement import ours
from loadtest.agreement.figures import Figures
from loadtest.errors import LoadTestError
from loadtest.record import Record
from loadtest.scenario import Closed, Requests, Scenario
from loadtest.summary import summarize
from loadtest.vllm_keys import vllm_result

START_S = 30.0
STOP_S = 10.0


@contextmanager
def wire(url: str, records: Path) -> Iterator[str]:
    """The address that a client is given instead of `url`. Afterwards `records` has what passed. Raises LoadTestError
    for a server that it cannot stand before, and where it did not come to its end."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        raise LoadTestError(f"{url}: what is encrypted cannot be read on the way. Give the server's http address.")
    command = [sys.executable, "-m", "loadtest.agreement.wire", url, str(records)]
    environment = {**os.environ, "PYTHONPATH": ours.python_path()}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            port = process.stdout.readline().strip() if selector.select(START_S) else b""
        if not port:
            raise LoadTestError(f"{url}: the wire did not start. Is the server running?")
        yield f"http://127.0.0.1:{int(port)}{parts.path}"
    finally:
        process.stdin.close()  # which ends it
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        finally:
            process.kill()  # nothing, where it has ended
            process.wait()
            process.stdout.close()
    if process.returncode != 0:
        raise LoadTestError(f"The wire ended with status {process.returncode}: nothing can be held against it.")


def figures(records: Sequence[Record]) -> Figures:
    """From the first request to the last answer. Raises LoadTestError where no answer passed."""
    if all(one.failure for one in records):
        raise LoadTestError("The client had no answer on the way that it was given: does it use a proxy of its own?")
    begin_s = min(one.scheduled_s for one in records)
    end_s = max(one.end_s for one in records if one.end_s is not None)
    run = Scenario(
        name="wire",
        requests=(Requests(kind="completions", model="wire"),),
        load=Closed(users=1),
        warm_up_s=begin_s,
        duration_s=end_s - begin_s + 1.0,
    )
    return ours.figures(vllm_result(summarize(records, run), run, 0.0), "")
