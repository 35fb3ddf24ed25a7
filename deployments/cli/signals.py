"""SIGINT, SIGTERM and SIGHUP as one exception, so that `with` and `finally` undo whatever was started."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(BaseException):
    """Somebody wants this process to end. Not an `Exception`: no library should swallow it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number

    @property
    def exit_status(self) -> int:
        """0 when asked to stop; 130, as shells expect, after Ctrl-C."""
        return 130 if self.signal_number == signal.SIGINT else 0


class StopSignals:
    """The handlers. `received` is the first signal that came."""

    def __init__(self) -> None:
        self.received: int | None = None

    def listen(self) -> None:
        """(Again) make the signals raise `Stopped` in the main thread: Ray sets handlers of its own when it starts."""
        for number in _SIGNALS:
            signal.signal(number, self._raise)

    @contextmanager
    def undisguised(self) -> Iterator[None]:
        """Within, `Stopped` comes out as itself: from Ray's compiled code it comes as a `SystemError`, and while Ray
        starts, its own handler makes a SIGTERM a `SystemExit`.
        """
        try:
            yield
        except Exception as error:
            if self.received is None:
                raise
            raise Stopped(self.received) from error
        except SystemExit as error:
            if error.code != signal.SIGTERM:
                raise
            raise Stopped(signal.SIGTERM) from error

    def _raise(self, signal_number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal_number
        raise Stopped(signal_number)


@contextmanager
def stopping() -> Iterator[StopSignals]:
    """Within, the signals raise `Stopped`; afterwards they do what they did before."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    signals = StopSignals()
    signals.listen()
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
