"""Who may use the front door."""

from __future__ import annotations

import ipaddress

from pydantic import Field

from deployments.settings.section import Section


class Access(Section):
    """`keys` is the file of API keys, which `stageline keys` makes: with it every request needs one."""

    keys: str | None = Field(None, min_length=1)


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches what listens at `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
