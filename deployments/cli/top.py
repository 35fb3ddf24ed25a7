"""`stageline top`: what a server does at the moment, in the terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.live import Live

from deployments.cli.admin_client import KeyOption, UrlOption, admin_url
from deployments.cli.control import PortOption
from deployments.top.draw import draw
from deployments.top.frame import frame
from deployments.top.snapshot import Snapshot, read
from engine.errors import EngineFailed

LEGEND = "> takes the requests at present, ! pressed: passes requests on; times are p50/p95. q ends it."
ASK_S = 10.0


def top(
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2)] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look twice, print what is to see, and end.")] = False,
    port: PortOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Watch a server: models, variants, replicas, stages, queues, rates and latencies. q or Ctrl-C ends it.

    Rates and latencies are those since the look before; what is counted (steps, resumed streams) is since the start.
    """
    address = admin_url(url, port)
    console = Console()
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=address, headers=headers, timeout=ASK_S) as client:
        before = look(client)
        if once:
            time.sleep(every)
            console.print(draw(frame(before, look(client)), address))
            return
        _watch(client, before, every, console)


def _watch(client: httpx.Client, before: Snapshot, every_s: float, console: Console) -> None:
    address, shown = str(client.base_url), before
    ended = threading.Event()
    with keys(ended), Live(console=console, screen=True, auto_refresh=False) as live:
        live.update(draw(frame(before, before), address, LEGEND), refresh=True)
        try:
            while not ended.wait(every_s):
                try:
                    now = look(client)
                except EngineFailed as error:
                    live.update(draw(frame(before, shown), address, f"{error.message} Trying again."), refresh=True)
                    continue
                live.update(draw(frame(shown, now), address, LEGEND), refresh=True)
                before, shown = shown, now
        except KeyboardInterrupt:
            return


def look(client: httpx.Client) -> Snapshot:
    """What the server tells now. Raises EngineFailed."""
    try:
        page, status = client.get("/metrics"), client.get("/status")
        for response in (page, status):
            if response.status_code in (401, 403):
                raise EngineFailed(f"{client.base_url} wants a key of scope admin: give it with --api-key.")
            response.raise_for_status()
        return read(time.monotonic(), page.text, status.json())
    except (httpx.HTTPError, ValueError) as error:
        raise EngineFailed(f"Nothing answers operators at {client.base_url}: {error}.") from error


@contextmanager
def keys(ended: threading.Event) -> Iterator[None]:
    """Sets `ended` when q is pressed, where there is a terminal to press it at; leaves that as it was."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    threading.Thread(target=_read_keys, args=(terminal, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _read_keys(terminal: int, ended: threading.Event) -> None:
    import os
    import select

    while not ended.is_set():
        ready, _, _ = select.select([terminal], [], [], 0.2)
        if ready and os.read(terminal, 1) in (b"q", b"Q", b""):
            ended.set()
