"""`stageline chat`: talk to a server in the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from deployments.cli.state import running_servers
from engine.errors import ConfigError, EngineFailed

Message = dict[str, str]

HELP = "/clear forgets the conversation, /exit ends it; Ctrl-C stops an answer."


def chat(
    url: Annotated[str | None, typer.Option(help="The server; the one on this machine if left out.")] = None,
    model: Annotated[str | None, typer.Option(help="The model; the server's first if left out.")] = None,
    system: Annotated[str | None, typer.Option(help="Instructions for the model.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens of an answer.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="STAGELINE_API_KEY", help="Key of the API, where the server wants one.")
    ] = None,
) -> None:
    """Talk to a model, streaming."""
    console = Console(stderr=True)
    timeout = httpx.Timeout(10.0, read=None)
    with httpx.Client(base_url=url or _local_url(), timeout=timeout, headers=bearer(api_key)) as client:
        model = model or _first_model(client)
        options: dict[str, Any] = {"model": model, "stream": True}
        if max_tokens is not None:
            options["max_tokens"] = max_tokens
        if sys.stdin.isatty():
            with suppress(ImportError):
                import readline  # noqa: F401  (gives input() a history and editing keys)
            console.print(f"[bold]{model}[/] at {client.base_url}. {HELP}", highlight=False)
        _converse(client, options, system, console)


def _converse(client: httpx.Client, options: dict[str, Any], system: str | None, console: Console) -> None:
    first: list[Message] = [{"role": "system", "content": system}] if system else []
    messages = list(first)
    while True:
        try:
            text = input("> " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if text == "/exit":
            return
        if text == "/clear":
            messages = list(first)
        elif text in ("/help", "/?"):
            console.print(HELP)
        elif text:
            asked = [*messages, {"role": "user", "content": text}]
            answer = ""
            try:
                for piece in stream_answer(client, {**options, "messages": asked}):
                    answer += piece
                    print(piece, end="", flush=True)
            except KeyboardInterrupt:
                console.print("\n(stopped)", end="")
            except EngineFailed as error:  # the conversation may go on: the server may be back, or the text shorter
                console.print(f"\n[red]{error.message}[/]", highlight=False, end="")
                asked = messages
            if answer:
                asked = [*asked, {"role": "assistant", "content": answer}]
            messages = asked
            print()


def stream_answer(client: httpx.Client, body: dict[str, Any]) -> Iterator[str]:
    """Pieces of the answer's text as they come. Raises `EngineFailed` with the server's own message."""
    try:
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            if response.status_code != 200:
                response.read()
                raise EngineFailed(_error_message(response.text) or f"The server answered {response.status_code}.")
            for line in response.iter_lines():
                data = line.removeprefix("data: ")
                if data == line or data == "[DONE]":
                    continue
                chunk = json.loads(data)
                if "error" in chunk:
                    raise EngineFailed(_error_message(data) or "The answer ended with an error.")
                for choice in chunk.get("choices", []):
                    yield choice.get("delta", {}).get("content") or ""
    except httpx.HTTPError as error:
        raise EngineFailed(f"The connection to {client.base_url} failed: {error}.") from error


def _error_message(text: str) -> str | None:
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return None


def bearer(api_key: str | None) -> dict[str, str]:
    """The header that sends a key. Raises ConfigError for one that no header can hold."""
    if not api_key:
        return {}
    if not (api_key.isascii() and api_key.isprintable()):
        raise ConfigError("The API key has line ends or letters that no HTTP header can have. Give another.")
    return {"Authorization": f"Bearer {api_key}"}


def _local_url() -> str:
    ready = [server.url for server in running_servers() if server.state == "ready"]
    if len(ready) > 1:
        raise ConfigError(f"Several servers run here: choose one with --url, of {', '.join(ready)}.", param="url")
    return ready[0] if ready else "http://127.0.0.1:8000"


def _first_model(client: httpx.Client) -> str:
    try:
        response = client.get("/v1/models")
        if response.status_code == 401:
            raise ConfigError(
                f"{client.base_url} wants an API key: give one with --api-key or in STAGELINE_API_KEY. "
                f"{_error_message(response.text) or ''}",
                param="api-key",
            )
        response.raise_for_status()
        return str(response.json()["data"][0]["id"])
    except (httpx.HTTPError, ValueError, LookupError) as error:
        raise EngineFailed(
            f"No server answers at {client.base_url} ({error}). Start one with: stageline serve"
        ) from error
