"""The operators' port: a small HTTP server in the front door's own process and event loop, with no proxy before it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

log = logging.getLogger(__name__)

RETRY_S = 5.0


class _Server(uvicorn.Server):
    """One of several servers in a process, whose signals are not its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_admin(app: ASGIApp, host: str, port: int) -> None:
    """Answers at this address until it is cancelled. While the address cannot be had it tries again and again: callers
    are answered all the same."""
    told = False
    while True:
        try:
            listening = listen(host, port)
        except OSError as error:
            if not told:
                log.error("operators cannot be answered at %s:%d: %s; it is tried again", host, port, error)
                told = True
            await asyncio.sleep(RETRY_S)
            continue
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        with listening:
            await _Server(config).serve(sockets=[listening])
        return


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. A front door that replaces another one shares the address with it meanwhile, which
    Linux allows to processes of one user. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((host, port))
        made.listen(128)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
