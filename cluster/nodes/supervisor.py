"""What an init system does on real machines: a node that ended by itself is started again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from engine.errors import StagelineError

_LOG = logging.getLogger(__name__)
_PERIOD_S = 0.5
_END_S = 120.0


class Supervisor:
    """A thread that calls `revive(name)` for one name after the other, again and again, from `with` to its end."""

    def __init__(self, revive: Callable[[str], bool], names: Sequence[str]) -> None:
        self._revive, self._names = revive, names
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Supervisor:
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._over.set()
        self._thread.join(_END_S)

    def _watch(self) -> None:
        while not self._over.wait(_PERIOD_S):
            for name in self._names:
                if self._over.is_set():
                    return
                try:
                    if self._revive(name):
                        _LOG.info("%s had ended and was started again.", name)
                except (StagelineError, OSError) as error:
                    _LOG.warning("%s could not be started again yet: %s", name, error)
