"""Server-Sent Events out of the pieces in which they arrive."""

from __future__ import annotations


class EventReader:
    """Takes bytes as they come; gives the data of each event that is complete.

    https://html.spec.whatwg.org/multipage/server-sent-events.html: lines may end with CR LF, events end with an empty
    line, several lines of data are one text. A CR alone, which no server writes, does not end a line here.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The events that `data` completes, as their data's bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        events = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data = []
        return events
