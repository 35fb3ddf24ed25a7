"""Asks a server's port for operators."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import typer

from deployments.cli.state import find_server
from engine.errors import ConfigError, EngineFailed

UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="The server's address for operators; that of the one on this machine if left out."),
]
KeyOption = Annotated[
    str | None, typer.Option("--api-key", envvar="STAGELINE_API_KEY", help="A key of scope admin, where keys are used.")
]
TIMEOUT_S = 15.0


def admin_url(url: str | None, port: int | None) -> str:
    """As given, or that of the server on this machine. Raises `ConfigError`."""
    if url is not None:
        return url.rstrip("/")
    server = find_server(port)
    if not server.admin_url:
        raise ConfigError(f"The server at {server.url} has no port for operators. Give its address with --url.")
    return server.admin_url


def ask_admin(url: str, path: str, key: str | None, **parameters: Any) -> Any:
    """What `GET url/path` answers. Raises `EngineFailed` with the server's own words."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    try:
        response = httpx.get(f"{url}/{path}", params=parameters, headers=headers, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EngineFailed(f"Nothing answers operators at {url}: {error}.") from error
    try:
        answer = response.json()
    except ValueError:
        raise EngineFailed(f"{url} does not answer as Stageline does (HTTP {response.status_code}).") from None
    if response.status_code != 200:
        said = answer.get("error") if isinstance(answer, dict) else None
        message = said.get("message") if isinstance(said, dict) else None
        if message == f"There is no GET /{path}.":
            raise EngineFailed(
                f"{url} is no address for operators: it has no {path}. On the server's machine leave --url out; "
                "elsewhere give it the host and http.admin_port."
            )
        raise EngineFailed(message or f"{url} answers HTTP {response.status_code}.")
    return answer
