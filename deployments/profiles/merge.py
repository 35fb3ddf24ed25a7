"""Several processes' traces as one for chrome://tracing and ui.perfetto.dev: a row for each process, on one clock.

Reading traces takes the interpreter for seconds, so that this runs in a process of its own: `merge_in_child`.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import sys
import tempfile
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from engine.errors import EngineFailed

MOST_EVENTS = 400_000  # of each process in a trace: more than that no browser shows
MERGE_S = 120.0

Event = dict[str, Any]

_BATCH = re.compile(r"batch (\d+): ")
_PIDS = 100  # of ours for each process: itself, and devices


@dataclass(frozen=True, slots=True)
class Process:
    """What is known of a process beside its trace. `ahead_s` is how much its clock is ahead of the first one's; `why`
    says why there is no trace."""

    name: str
    pid: int = 0
    threads: Mapping[int, str] = field(default_factory=dict)
    ahead_s: float = 0.0
    why: str = ""


def merged(processes: Sequence[Process], traces: Sequence[Mapping[str, Any] | None], most: int = MOST_EVENTS) -> Event:
    """One trace of torch's traces, in the same order; None where a process has none. Times are microseconds since the
    first event."""
    parts: list[list[Event]] = []
    notes = [f"{one.name} is missing: {one.why}" for one in processes if one.why]
    for process, trace in zip(processes, traces, strict=True):
        events = [] if trace is None else on_one_clock(trace, process.ahead_s)
        kept = longest(events, most)
        if len(kept) < len(events):
            notes.append(f"of {process.name} the {len(kept)} longest of {len(events)} events are here")
        parts.append(kept)
    first = min((event["ts"] for part in parts for event in part), default=0.0)
    shown: list[Event] = []
    batches: list[list[Event]] = []
    for index, (process, part) in enumerate(zip(processes, parts, strict=True)):
        renamed = list(in_own_rows(index, process, part, first))
        shown += renamed
        batches.append([event for event in renamed if _BATCH.match(event["name"])])
    return {
        "traceEvents": [*shown, *arrows(batches)],
        "displayTimeUnit": "ms",
        "otherData": {"processes": [one.name for one in processes], "notes": notes},
    }


def on_one_clock(trace: Mapping[str, Any], ahead_s: float) -> list[Event]:
    """The trace's events that last, with times in microseconds since 1970 by the first process's clock."""
    base_us = trace.get("baseTimeNanoseconds", 0) / 1000 - 1e6 * ahead_s
    return [
        {**event, "ts": event["ts"] + base_us}
        for event in trace.get("traceEvents", ())
        # Torch's own rows about the profile itself have words for process ids.
        if event.get("ph") == "X" and isinstance(event.get("pid"), int)
    ]


def longest(events: Sequence[Event], most: int) -> list[Event]:
    """The longest events, in their order: the others are too short to be seen among so many."""
    if len(events) <= most:
        return list(events)
    bound = sorted((event.get("dur", 0.0) for event in events), reverse=True)[most - 1]
    return [event for event in events if event.get("dur", 0.0) >= bound][:most]


def in_own_rows(index: int, process: Process, events: Sequence[Event], first_us: float) -> Iterator[Event]:
    """The events under process ids that no other process has, after the names of their rows."""
    pids: dict[int, int] = {process.pid: _PIDS * index}
    threads: set[tuple[int, int | str]] = set()
    for event in events:
        pid = pids.setdefault(event["pid"], _PIDS * index + len(pids))
        threads.add((pid, event["tid"]))
        yield {**event, "pid": pid, "ts": round(event["ts"] - first_us, 3)}
    for theirs, pid in pids.items():
        name = process.name if theirs == process.pid else f"{process.name}, device {theirs}"
        name += f" ({process.why})" if process.why else ""
        yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": name}}
        yield {"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": {"sort_index": pid}}
    for pid, thread in sorted(threads, key=str):
        name = process.threads.get(thread, f"thread {thread}") if isinstance(thread, int) else str(thread)
        yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": thread, "args": {"name": name}}


def arrows(batches: Sequence[Sequence[Event]]) -> Iterator[Event]:
    """From each batch in a process to the same batch in the next one: the first of that number that begins after it
    (numbers begin anew after a repair)."""
    number = 0
    for before, after in pairwise(batches):
        waiting: dict[str, deque[Event]] = defaultdict(deque)
        for event in sorted(after, key=lambda event: event["ts"]):
            waiting[_number(event)].append(event)
        for event in sorted(before, key=lambda event: event["ts"]):
            end, same = event["ts"] + event.get("dur", 0.0), waiting[_number(event)]
            while same and same[0]["ts"] < end:
                same.popleft()
            if not same:
                continue
            found = same.popleft()
            number += 1
            for phase, at, ts in (("s", event, end), ("f", found, found["ts"])):
                flow = {"ph": phase, "id": number, "name": "batch", "cat": "batch", "pid": at["pid"], "tid": at["tid"]}
                yield {**flow, "ts": ts, **({"bp": "e"} if phase == "f" else {})}


def _number(event: Event) -> str:
    found = _BATCH.match(event["name"])
    return "" if found is None else found[1]


async def merge_in_child(processes: Sequence[Process], traces: Sequence[bytes | None]) -> bytes:
    """The same of gzipped traces, gzipped, without holding up this process. Raises EngineFailed."""
    with tempfile.TemporaryDirectory(prefix="stageline-profile-") as name:
        folder = Path(name)
        await asyncio.to_thread(_write, folder, processes, traces)
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, str(folder), stderr=asyncio.subprocess.PIPE
        )
        try:
            _, said = await asyncio.wait_for(child.communicate(), MERGE_S)
        except TimeoutError:
            raise EngineFailed(
                f"Joining the profile took more than {MERGE_S:.0f} s: take one of fewer seconds."
            ) from None
        finally:
            if child.returncode is None:
                child.kill()
        if child.returncode:
            last = said.decode(errors="replace").strip().rpartition("\n")[2]
            raise EngineFailed(f"The profile could not be joined: {last}")
        return await asyncio.to_thread((folder / "merged.json.gz").read_bytes)


def _write(folder: Path, processes: Sequence[Process], traces: Sequence[bytes | None]) -> None:
    (folder / "processes.json").write_text(json.dumps([asdict(one) for one in processes]), encoding="utf-8")
    for index, trace in enumerate(traces):
        if trace is not None:
            (folder / f"{index}.json.gz").write_bytes(trace)


def main(folder: Path) -> None:
    """Reads what `merge_in_child` wrote into a folder, and writes there what it reads."""
    told = json.loads((folder / "processes.json").read_text(encoding="utf-8"))
    processes = [Process(**{**one, "threads": {int(k): v for k, v in one["threads"].items()}}) for one in told]
    traces = []
    for index in range(len(processes)):
        path = folder / f"{index}.json.gz"
        traces.append(json.loads(gzip.decompress(path.read_bytes())) if path.exists() else None)
    result = json.dumps(merged(processes, traces), separators=(",", ":"))
    (folder / "merged.json.gz").write_bytes(gzip.compress(result.encode(), compresslevel=5))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
