"""The keys that hold now: looked up by what a caller sent, and taken from their file again when it changes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from deployments.access.keys import Key, digest_of, read_keys
from engine.errors import ConfigError, NotAuthenticated

log = logging.getLogger("stageline.access")

LOOK_S = 1.0
_HOW = "Send a key as 'Authorization: Bearer KEY'; the operator of this server makes them."


class Ring:
    """The keys, found by their digests.

    How long a look-up takes must tell nothing about them: they are filed under a hash that is keyed with random bits of
    this process, which nobody outside can steer, and what is found there is compared in constant time. So it costs the
    same for one key and for ten thousand.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)
        self._secret = secrets.token_bytes(32)
        self._filed = {self._place(key.digest): key for key in self.keys}

    def find(self, sent: bytes) -> Key | None:
        """The key that was sent, expired or not."""
        digest = digest_of(sent)
        key = self._filed.get(self._place(digest))
        return key if key is not None and hmac.compare_digest(key.digest, digest) else None

    def _place(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._secret, digest_size=16).digest()


class KeyFile:
    """The keys in a file, which may be replaced while this runs, as Kubernetes replaces a mounted Secret.

    A file that cannot be read changes nothing: the keys that were there hold on, and the log tells.
    """

    def __init__(self, path: Path, wall: Callable[[], float] = time.time) -> None:
        """Raises ConfigError for a file that is not there or not right."""
        self.path = path
        self.broken = False
        self._wall = wall
        self._seen = self._mark()
        self.ring = Ring(read_keys(path))

    def identify(self, authorization: bytes | None) -> Key:
        """Whose request it is, by its `Authorization` header. Raises NotAuthenticated."""
        scheme, _, sent = (authorization or b"").strip().partition(b" ")
        if scheme.lower() != b"bearer" or not sent:
            raise NotAuthenticated(f"This server wants an API key. {_HOW}")
        key = self.ring.find(sent.strip())
        if key is None:
            raise NotAuthenticated(f"This is no API key of this server. {_HOW}")
        if key.expired(self._wall()):
            raise NotAuthenticated("This API key has expired. Ask the operator of this server for another.")
        return key

    async def watch(self) -> None:
        """Takes the file again whenever it has changed."""
        while True:
            await asyncio.sleep(LOOK_S)
            with suppress(Exception):  # `look` tells what is wrong itself
                await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Takes the file again if it has changed."""
        mark = self._mark()
        if mark == self._seen:
            return
        self._seen = mark
        before = {key.name for key in self.ring.keys}
        try:
            self.ring = Ring(read_keys(self.path))
        except ConfigError as error:
            self.broken = True
            log.error(
                "The changed file of API keys is not taken: revoked keys still hold and new ones do not. The %d keys "
                "from before stay until it is right. %s",
                len(before),
                error.message,
            )
            return
        self.broken = False
        after = {key.name for key in self.ring.keys}
        log.warning(
            "%s was read again: %d API keys, new %s, gone %s",
            self.path,
            len(after),
            ", ".join(sorted(after - before)) or "none",
            ", ".join(sorted(before - after)) or "none",
        )

    def _mark(self) -> tuple[int, ...] | None:
        """What changes when the file does: by a write, by another in its place, or by a link on the way to it."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
