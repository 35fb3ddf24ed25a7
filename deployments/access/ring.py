"""The keys that hold now: looked up by what a caller sent, and taken from their file again when it changes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from deployments.access.keys import Key, digest_of, read_keys
from deployments.yaml_lines import Unreadable
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

    A file that is not right, or cannot be read, changes nothing: the keys that were there hold on, `broken` is True,
    and the log tells once. What cannot be read is tried again at each look, what is not right when it has changed.
    """

    def __init__(self, path: Path, wall: Callable[[], float] = time.time) -> None:
        """Raises ConfigError for a file that is not there or not right."""
        self.path = path
        self.broken = False
        self._wall = wall
        self._seen = self._mark()
        self._told = ""
        self._again = False
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
            try:
                await asyncio.to_thread(self.look)
            except Exception as error:  # no thread is to be had, say
                self._not_taken(error)

    def look(self) -> None:
        """Takes the file again if it has changed, or could not be read before. Raises nothing."""
        mark = self._mark()
        if mark == self._seen and not self._again:
            return
        before = {key.name for key in self.ring.keys}
        try:
            self.ring = Ring(read_keys(self.path))
        except Exception as error:
            self._not_taken(error)
            if not self._again:
                self._seen = mark
            return
        self._seen, self._again, self._told, self.broken = mark, False, "", False
        after = {key.name for key in self.ring.keys}
        log.warning(
            "%s was read again: %d API keys, new %s, gone %s",
            self.path,
            len(after),
            ", ".join(sorted(after - before)) or "none",
            ", ".join(sorted(before - after)) or "none",
        )

    def _not_taken(self, error: Exception) -> None:
        self.broken = True
        wrong = isinstance(error, ConfigError) and not isinstance(error, Unreadable)  # what stands there, that is
        self._again = not wrong
        why = str(error) if isinstance(error, ConfigError) else repr(error)
        if not wrong and why == self._told:
            return
        self._told = why
        log.error(
            "The file of API keys is not taken: revoked keys still hold and new ones do not. The %d keys from before "
            "stay until it is right. %s",
            len(self.ring.keys),
            why,
            exc_info=None if isinstance(error, ConfigError) else error,
        )

    def _mark(self) -> tuple[int, ...] | None:
        """What changes when the file does: by a write, by another in its place, or by a link on the way to it."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
