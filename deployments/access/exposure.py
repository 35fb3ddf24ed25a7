"""That a front door which others reach has keys, or was meant to be open."""

from __future__ import annotations

from pathlib import Path

from deployments.access.keys import read_keys
from deployments.settings import Http, Settings, is_loopback
from engine.errors import ConfigError


def check_access(settings: Settings, *, to_others: bool | None = None) -> None:
    """Raise `ConfigError` for a file of API keys that is not right, and for a front door that would be open to others
    by oversight. Whether others reach it is told by its hosts, where `to_others` is None."""
    keys, http = settings.access.keys, settings.http
    if keys is not None and http.without_keys:
        raise ConfigError(
            "access.keys asks for API keys and http.without_keys for none: leave one of them out.",
            param="http.without_keys",
        )
    if keys is not None:
        read_keys(Path(keys))
        return
    others = [host for host in (http.host, http.admin_host) if not is_loopback(host)]
    if to_others is None:
        to_others = bool(others)
    if to_others and not http.without_keys:
        where = f"others reach {others[0]}" if others else "others reach this one"
        raise ConfigError(
            f"Without API keys the front door answers this machine alone, and {where}. Make a key with `stageline keys "
            "new NAME --file keys.yaml` and set access.keys to that file (or --keys); or set http.without_keys to true "
            "(or --without-keys), and anybody who reaches it may use all of it.",
            param="access.keys",
        )


def for_this_machine_only(http: Http, *, has_keys: bool) -> bool:
    """Whether a front door without keys relies on that nobody else reaches it. Then a browser must not be led to it by
    a foreign name: see `SameOrigin`."""
    return not has_keys and not http.without_keys and is_loopback(http.host) and is_loopback(http.admin_host)
