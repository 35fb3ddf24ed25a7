"""One file over HTTP: resumed where it was cut, checked before it gets its name."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deployments.sources.digest import Digest
from deployments.sources.progress import Progress
from engine.errors import SourceError

_AGAIN = {408, 429, 500, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Remote:
    """A file to download. `size` in bytes; `name` is for people."""

    url: str
    name: str
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a server: seconds of silence, failures in a row, seconds before the second attempt."""

    timeout_s: float = 30.0
    attempts: int = 5
    backoff_s: float = 0.5

    def wait(self, failures: int) -> None:
        """Sleep before the next attempt, longer after each failure."""
        time.sleep(self.backoff_s * 2**failures)


PATIENCE = Patience()


class _Retry(Exception):
    """This attempt failed and the next may not."""


def download(
    client: httpx.Client,
    remote: Remote,
    target: Path,
    progress: Progress,
    *,
    patience: Patience = PATIENCE,
) -> None:
    """Download to `target`, going on from `target.part` where there is one.

    `patience.attempts` in a row may fail without a byte gained. Raises `SourceError` when they do, when the server
    refuses, or when what came is not what `remote.digest` says; what is wrong is deleted.
    """
    if target.exists() and target.stat().st_size == remote.size and remote.digest.matches(target):
        return
    part = target.with_name(f"{target.name}.part")
    resumed = part.exists()
    _receive(client, remote, part, progress, patience)
    if resumed and not remote.digest.matches(part):  # the first piece may be of something else: once more, whole
        part.unlink()
        _receive(client, remote, part, progress, patience)
    if not remote.digest.matches(part):
        part.unlink()
        raise SourceError(f"{remote.name} arrived damaged: its checksum is not the hub's. It was deleted; try again.")
    part.replace(target)


def _receive(client: httpx.Client, remote: Remote, part: Path, progress: Progress, patience: Patience) -> None:
    """Fill `part` up to the remote's size."""
    failures = 0
    while not part.exists() or part.stat().st_size != remote.size:
        have = part.stat().st_size if part.exists() else 0
        if have > remote.size:
            part.unlink()
            have = 0
        try:
            _receive_once(client, remote, part, have, progress)
        except (httpx.TransportError, _Retry) as error:
            gained = part.exists() and part.stat().st_size > have
            failures = 0 if gained else failures + 1
            if failures >= patience.attempts:
                raise _unreachable(remote.name, remote.url, error) from error
            patience.wait(failures)


def _receive_once(client: httpx.Client, remote: Remote, part: Path, have: int, progress: Progress) -> None:
    headers = {"Range": f"bytes={have}-"} if have else {}
    # Without this, a server may compress, and a range then counts compressed bytes.
    headers["Accept-Encoding"] = "identity"
    with client.stream("GET", remote.url, headers=headers) as response:
        if response.status_code == 416:
            part.unlink(missing_ok=True)
            raise _Retry("the server has less of it than was here")
        _check_status(response, remote.name)
        appends = response.status_code == 206
        if appends and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            raise _Retry("the server sent another range than was asked for")
        done = have if appends else 0
        with part.open("ab" if appends else "wb") as file:
            for chunk in response.iter_bytes():
                done += len(chunk)
                if done > remote.size:
                    part.unlink()
                    raise SourceError(f"{remote.name} is longer than the {remote.size} bytes the hub listed.")
                file.write(chunk)
                progress(remote.name, done, remote.size)
    if done < remote.size:
        raise _Retry("the connection ended early")


def get_json(client: httpx.Client, url: str, *, what: str, patience: Patience = PATIENCE) -> Any:
    """A JSON document. Raises `SourceError`."""
    for failures in range(patience.attempts):
        try:
            response = client.get(url)
            _check_status(response, what)
            return response.json()
        except (httpx.TransportError, _Retry) as error:
            if failures + 1 == patience.attempts:
                raise _unreachable(what, url, error) from error
            patience.wait(failures)
        except ValueError as error:
            raise SourceError(f"{what}: the server's answer is not JSON; is HF_ENDPOINT a hub?") from error
    raise AssertionError("attempts is at least 1")


def _check_status(response: httpx.Response, what: str) -> None:
    status = response.status_code
    if status in _AGAIN:
        raise _Retry(f"the server answered {status}")
    if status in (401, 403):
        raise SourceError(
            f"{what}: the hub answered {status}. It does not exist, or needs HF_TOKEN of an account that may read it."
        )
    if status == 404:
        raise SourceError(f"{what} does not exist on the hub (404). Check the name and the revision.", param="source")
    if status >= 400:
        raise SourceError(f"{what}: the hub answered {status}.")


def _unreachable(what: str, url: str, error: Exception) -> SourceError:
    return SourceError(
        f"{what} could not be downloaded from {httpx.URL(url).host}: {str(error) or type(error).__name__}. Check the "
        "network (what came so far is kept, the next attempt goes on from there), or give the path of a model that is "
        "on this machine."
    )
