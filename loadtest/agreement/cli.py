"""`python -m loadtest agree`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from loadtest.ending import told

if TYPE_CHECKING:
    from loadtest.agreement.work import Rate, Streams

PROMPTS = 10_000  # seeds of prompts in one load: 100 a round
BIN = "The `bin` folder of the environment in which it is installed."


def agree(
    url: Annotated[str, typer.Option(help="The server.")] = "http://127.0.0.1:8000",
    model: Annotated[str, typer.Option(help="A model that generates.")] = "smollm2",
    aiperf_bin: Annotated[Path | None, typer.Option("--aiperf", help=BIN)] = None,
    servebench_bin: Annotated[Path | None, typer.Option("--servebench", help=BIN)] = None,
    kind: Annotated[Literal["completions", "chat"], typer.Option(help="Which endpoint.")] = "completions",
    streams: Annotated[int, typer.Option(min=0, help="Closed loop: requests under way. 0: none.")] = 4,
    rate: Annotated[float, typer.Option(min=0, help="Open loop: requests a second, Poisson. 0: none.")] = 1.0,
    requests: Annotated[int, typer.Option(min=8, help="By each client, in each round, of each load.")] = 120,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Words; about as many tokens.")] = 64,
    output_tokens: Annotated[int, typer.Option(min=2)] = 64,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Each client has one run a round.")] = 5,
    tolerance: Annotated[float, typer.Option(min=0, help="The most that a figure may differ; 0.05 is 5%.")] = 0.05,
    limit: Annotated[float, typer.Option(min=1, help="Seconds for one run, beyond its schedule.")] = 600.0,
    seed: Annotated[int, typer.Option(help="Of prompts and arrivals.")] = 0,
    api_key: Annotated[str, typer.Option(envvar="STAGELINE_API_KEY", help="Sent as a Bearer token.")] = "",
    output: Annotated[Path | None, typer.Option(help="Folder for agreement.json and agreement.md.")] = None,
) -> None:
    """Hold our client against others: the same server and work, in turns. Exit status 1 where they do not agree."""
    from loadtest.agreement import aiperf, ours, servebench
    from loadtest.agreement.compare import OURS, judge
    from loadtest.agreement.rounds import Client, alternate
    from loadtest.agreement.table import Compared, as_json, head, markdown, title
    from loadtest.agreement.work import Rate, Streams, Work
    from loadtest.machine import machine
    from loadtest.run import check_server
    from loadtest.run_files import server_facts

    arguments = {
        "kind": kind,
        "requests": requests,
        "prompt-tokens": prompt_tokens,
        "output-tokens": output_tokens,
        "rounds": rounds,
        "seed": seed,
    }
    console = Console(stderr=True, soft_wrap=True)
    others = {"aiperf": (aiperf_bin, aiperf.run), "servebench": (servebench_bin, servebench.run)}
    clients = [Client(OURS, ours.program(), ours.run)]
    clients += [
        Client(name, str(folder.absolute() / name), run)  # each runs in a folder of its own
        for name, (folder, run) in others.items()
        if folder is not None
    ]
    loads: list[Streams | Rate] = [*([Streams(streams)] if streams else []), *([Rate(rate)] if rate else [])]
    if not any(folder for folder, _ in others.values()):
        raise typer.BadParameter("give --aiperf or --servebench, or both.")
    if not loads:
        raise typer.BadParameter("give --streams or --rate, or both.")
    url = url.rstrip("/")
    found: list[Compared] = []
    with told():
        check_server(url)
        server = {"url": url, **server_facts(url, api_key)}
        for index, load in enumerate(loads):
            work = Work(
                url,
                model,
                load,
                kind,
                requests,
                prompt_tokens,
                output_tokens,
                arrivals_seed=seed,
                prompts_seed=PROMPTS * (2 * seed + index),
                limit_s=limit,
                api_key=api_key,
            )
            console.print(f"{title(work)}: {', '.join(one.name for one in clients)}", highlight=False)
            found.append(Compared(work, alternate(clients, work, rounds, console)))
            typer.echo(markdown(found[-1:], tolerance))
            if output is not None:  # each time: the next load may take long, and fail
                output.mkdir(parents=True, exist_ok=True)
                content = as_json(found, tolerance, machine(["locust"]), server, arguments)
                (output / "agreement.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
                text = f"{head(content)}\n{markdown(found, tolerance)}"
                (output / "agreement.md").write_text(text, encoding="utf-8")
    if any(judge(one.rounds, requests, tolerance) != "agree" for one in found):
        raise typer.Exit(1)
