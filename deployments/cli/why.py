"""`stageline why`: what happened to a request."""

from __future__ import annotations

import json
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console

from deployments.cli.admin_client import KeyOption, UrlOption, admin_url, ask_admin
from deployments.cli.control import PortOption
from deployments.cli.why_view import requests_table, why_view
from engine.errors import ConfigError


def why(
    request_id: Annotated[
        str | None, typer.Argument(help="The answer's X-Request-Id header.", show_default=False)
    ] = None,
    slow: Annotated[bool, typer.Option("--slow", help="List recent slow requests.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="List recent requests that failed.")] = False,
    running: Annotated[bool, typer.Option("--open", help="List requests that have not ended.")] = False,
    model: Annotated[str, typer.Option(help="List only those to this model.")] = "",
    limit: Annotated[int, typer.Option(help="List at most so many.", min=1, max=2000)] = 20,
    port: PortOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Tell where a recent request's time went and why it got its variant; without an id, list recent requests."""
    if request_id is not None and (slow or failed or running or model):
        raise ConfigError("A request id names one request; --slow, --failed, --open and --model list several.")
    if slow + failed + running > 1:
        raise ConfigError("Choose one of --slow, --failed and --open.")
    server, console = admin_url(url, port), Console()
    if request_id is not None:
        found = ask_admin(server, f"admin/requests/{quote(request_id, safe='')}", api_key)
        if as_json:
            typer.echo(json.dumps(found))
        else:
            console.print(why_view(found), highlight=False)
        return
    which = "slow" if slow else "failed" if failed else "open" if running else "all"
    listed = ask_admin(server, "admin/requests", api_key, which=which, model=model, limit=limit)["requests"]
    if as_json:
        typer.echo(json.dumps(listed))
    elif listed:
        console.print(requests_table(listed), highlight=False)
    else:
        kind = {"all": "No request", "open": "No open request"}.get(which, f"No {which} request")
        console.print(f"{kind} is remembered.", highlight=False)
