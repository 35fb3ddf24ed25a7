"""`stageline keys`: make, list and revoke keys of the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deployments.access.key_file import Sections, change
from deployments.access.keys import KeySection, digest_of, new_secret, read_sections, section_of
from engine.errors import ConfigError

keys = typer.Typer(
    help="Keys of the API: make, list and revoke them. A running server takes the changed file by itself.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
File = Annotated[Path, typer.Option("--file", envvar="STAGELINE_KEYS", help="The file that access.keys names.")]


@keys.command()
def new(
    name: Annotated[str, typer.Argument(help="What to call it in lists, limits and logs.")],
    file: File = Path("keys.yaml"),
    model: Annotated[
        list[str] | None,
        typer.Option(help="What it may use: model or model:variant, with * for any; may be repeated. All by default."),
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="For the admin endpoints, /metrics and /status.")] = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="For /metrics and /status.")] = False,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Limit at each front door.")] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Limit of tokens read and written, at each front door.")
    ] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="Most open requests, at each front door.")] = None,
    weight: Annotated[float, typer.Option(help="How much more than others it may have while requests wait.")] = 1.0,
    days: Annotated[float | None, typer.Option(min=0, help="Until it expires; never if left out.")] = None,
) -> None:
    """Make a key. It is printed once, alone on standard output; only its SHA-256 is kept.

    With --admin or --metrics it may use no models, unless --model names some.
    """
    secret = new_secret()
    scopes = [scope for scope, wanted in (("admin", admin), ("metrics", metrics)) if wanted]
    limits = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "concurrent": concurrent,
    }
    section = section_of(
        {
            "name": name,
            "sha256": digest_of(secret.encode()).hex(),
            "models": model if model is not None else [] if scopes else ["*"],
            "scopes": scopes,
            "limits": {key: value for key, value in limits.items() if value is not None},
            "weight": weight,
            "expires": None if days is None else datetime.now(UTC).replace(microsecond=0) + timedelta(days=days),
        }
    )

    def added(sections: Sections) -> Sections:
        if any(one.name == name for one in sections):
            raise ConfigError(f"{file} has a key '{name}' already: revoke it first, or choose another name.")
        return (*sections, section)

    change(file, added)
    Console(stderr=True).print(
        f"The key '{name}' is in {file}. This is the only time that it is shown:", highlight=False, soft_wrap=True
    )
    typer.echo(secret)


@keys.command("list")
def list_keys(file: File = Path("keys.yaml")) -> None:
    """Show the keys of a file: what they may use, and their limits."""
    table = Table(
        "name",
        "models",
        "scopes",
        "requests/min",
        "tokens/min",
        "open",
        "weight",
        "expires",
        box=None,
        padding=(0, 2, 0, 0),
    )
    now = datetime.now(UTC)
    for key in read_sections(file):
        limits = (key.limits.requests_per_minute, key.limits.tokens_per_minute, key.limits.concurrent)
        table.add_row(
            key.name,
            " ".join(key.models) or "none",
            " ".join(key.scopes),
            *("" if limit is None else str(limit) for limit in limits),
            f"{key.weight:g}",
            _expiry(key, now),
        )
    Console().print(table)


@keys.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The key's name.")],
    file: File = Path("keys.yaml"),
) -> None:
    """Take a key out of a file. Running servers refuse it a second or two later; requests under way go on."""

    def without(sections: Sections) -> Sections:
        left = tuple(one for one in sections if one.name != name)
        if len(left) == len(sections):
            known = ", ".join(one.name for one in sections) or "none"
            raise ConfigError(f"{file} has no key '{name}'. Its keys: {known}.")
        return left

    if not file.exists():
        raise ConfigError(f"{file}: there is no such file.")
    change(file, without)
    typer.echo(f"Revoked {name}.")


def _expiry(key: KeySection, now: datetime) -> str:
    if key.expires is None:
        return ""
    return f"{key.expires:%Y-%m-%d %H:%M}{' (expired)' if key.expires <= now else ''}"
