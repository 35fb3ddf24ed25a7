"""One request as it went: a line of `requests.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from loadtest.errors import LoadTestError
from loadtest.lines import read_lines

# How a request failed. "" is an answer that is complete.
#   429, 503      refused: the caller's own limit; too much load
#   http          any other status than 200
#   timeout       not complete within the scenario's time
#   cut           the answer ended before its end ([DONE] of a stream, the length of a body)
#   connection    no connection, or it broke before the answer began
#   answer        an answer that makes no sense, or an error inside a stream
#   client        not sent: the client's own machine has no socket, port or memory for it
#   unfinished    the run was stopped before the answer was complete
Failure = Literal["", "429", "503", "http", "timeout", "cut", "connection", "answer", "client", "unfinished"]


@dataclass(slots=True)
class Record:
    """All times are seconds from the run's start (`start_s` of `run.json`, a Unix time); None: it did not come to it.

    `scheduled_s` is when the request should have been sent: by the plan (open loop), or when its user was free (closed
    loop). `sent_s` is when the client began to send it, which includes a new connection; `connected_s` is when that was
    there, and the request's bytes went out.
    """

    number: int  # of the request, by which its content was drawn; every number is sent once
    kind: str  # chat, completions, classify, embeddings, translate
    model: str  # as asked
    scheduled_s: float
    sent_s: float | None = None
    headers_s: float | None = None  # the answer's status and headers had come
    chunk_s: float | None = None  # first event of the stream with `choices`, be it empty
    first_s: float | None = None  # first event with some text; of an answer in one piece, its end
    last_s: float | None = None  # last event with some text
    end_s: float | None = None  # the answer was complete, or had failed
    gaps_s: list[float] = field(default_factory=list)  # between events with text: one fewer than those
    status: int = 0  # 0: no HTTP answer
    failure: Failure = ""
    message: str = ""  # of the failure
    variant: str = ""  # X-Stageline-Variant, where the server says it
    prompt_tokens: int = 0  # by the server's `usage`
    output_tokens: int = 0  # by the server's `usage`
    exact_tokens: int = 0  # that the answer was asked to have, no more and no fewer; 0: it was not
    items: int = 1  # texts or sentences in the request
    bytes: int = 0  # of the answer's body
    text: str = ""  # generated, or what was answered as JSON; only where the scenario keeps it
    worker: int = 0  # which process sent it
    connected_s: float | None = None  # there was a connection: soon after `sent_s` where one was kept


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Adds a line for each."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(record)) + "\n" for record in records)


def read_records(path: Path) -> list[Record]:
    """In the order in which they were scheduled. Raises LoadTestError for a file that holds something else."""
    try:
        return sorted(_lines(path), key=lambda record: (record.scheduled_s, record.number))
    except FileNotFoundError:
        raise LoadTestError(f"{path}: there is no such file. Give the folder of a run.") from None


def _lines(path: Path) -> Iterator[Record]:
    for number, line in enumerate(read_lines(path), 1):
        try:
            yield Record(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise LoadTestError(f"{path}:{number}: not a request's record: {error}.") from None
