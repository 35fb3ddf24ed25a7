"""The clients in turns against one server: what drifts, drifts for all of them."""

from __future__ import annotations

import json
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from loadtest.agreement import witness
from loadtest.agreement.compare import Seen
from loadtest.agreement.figures import Figures
from loadtest.agreement.work import Work, prompts
from loadtest.errors import LoadTestError
from loadtest.record import read_records
from loadtest.turns import turns

WARM_UP = 4
ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class Client:
    """`run` does some work with the program, in an empty folder."""

    name: str
    program: str
    run: Callable[[Work, str, Path], Figures]


def alternate(clients: Sequence[Client], work: Work, rounds: int, console: Console) -> list[dict[str, Seen]]:
    """Each client once a round, another first each time. Raises LoadTestError where one fails."""
    found: list[dict[str, Seen]] = [{} for _ in range(rounds)]
    for number, client in turns(clients, rounds, console, name=lambda client: client.name):
        index = clients.index(client)
        found[number - 1][client.name] = run_one(client, drawn(work, number - 1, index))
    return [{client.name: seen[client.name] for client in clients} for seen in found]


def drawn(work: Work, number: int, index: int) -> Work:
    """What client `index` does in round `number`: the round's arrivals, and prompts that nobody else sends."""
    return replace(
        work, arrivals_seed=work.arrivals_seed + number, prompts_seed=work.prompts_seed + 100 * number + index
    )


def run_one(client: Client, work: Work) -> Seen:
    """After a few requests that do not count. The client is given the wire's address for the server's."""
    _warm_up(work)
    with tempfile.TemporaryDirectory(prefix="agreement-") as folder:
        records, own = Path(folder) / "wire.jsonl", Path(folder) / "client"
        own.mkdir()
        with witness.wire(work.url, records) as url:
            said = client.run(replace(work, url=url), client.program, own)
        return Seen(said, witness.figures(read_records(records)))


def _warm_up(work: Work) -> None:
    for prompt in prompts(work, WARM_UP, first=work.requests):
        body = {"model": work.model, "max_tokens": work.output_tokens, "temperature": 0, "ignore_eos": True}
        if work.kind == "chat":
            path, asked = "chat/completions", {**body, "messages": [{"role": "user", "content": prompt}]}
        else:
            path, asked = "completions", {**body, "prompt": prompt}
        headers = {"Content-Type": "application/json"}
        if work.api_key:
            headers["Authorization"] = f"Bearer {work.api_key}"
        request = urllib.request.Request(f"{work.url}/v1/{path}", json.dumps(asked).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            raise LoadTestError(f"{work.url} answers {error.code}: {error.read().decode(errors='replace')}") from None
        except OSError as error:
            raise LoadTestError(f"{work.url} does not answer: {error}. Start the server, or give --url.") from None
