"""`ip` and `tc`, as far as networks of namespaces need them."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from pathlib import Path

from engine.errors import EngineFailed

_LIMIT_S = 30.0


def run_ip(arguments: str, *, check: bool = True) -> str:
    """What `ip ARGUMENTS` prints. Raises `EngineFailed` with its complaint, unless told not to `check`."""
    return _run("ip", arguments, check=check)[1]


def tc(arguments: str, *, check: bool = True) -> bool:
    """Whether `tc ARGUMENTS` worked."""
    return _run("tc", arguments, check=check)[0]


def namespaces() -> list[str]:
    """All network namespaces that have a name."""
    folder = Path("/run/netns")
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def bridges(prefix: str) -> list[str]:
    """Bridges of the root namespace by the beginning of their names."""
    return [path.parent.name for path in Path("/sys/class/net").glob(f"{prefix}*/bridge")]


def subnets_in_use() -> list[ipaddress.IPv4Network]:
    """What the root namespace's routes lead to, apart from everything (the default route)."""
    routes = json.loads(run_ip("-j -4 route show table all") or "[]")
    found = (route["dst"] for route in routes if route["dst"] != "default")
    return [ipaddress.IPv4Network(destination, strict=False) for destination in found]


def _run(program: str, arguments: str, *, check: bool) -> tuple[bool, str]:
    try:
        done = subprocess.run(
            [program, *arguments.split()], capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineFailed(f"{program} {arguments}: {error}.") from error
    if check and done.returncode:
        raise EngineFailed(f"{program} {arguments}: {done.stderr.strip() or done.returncode}")
    return not done.returncode, done.stdout
