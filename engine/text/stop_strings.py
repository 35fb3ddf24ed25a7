"""Stop strings in a stream of text."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from engine.errors import InvalidRequest


class StopStrings:
    """Cuts a stream of text at the first stop string and never lets a part of one through before that is certain.

    The match that is complete first wins; of those complete at the same character, the one that began first. So the
    result does not depend on how the text is cut into pieces. With `include_stop` the stop string itself is given
    too. The cost per character does not depend on the number of stop strings (an Aho-Corasick automaton).
    Raises `InvalidRequest` for an empty stop string.
    """

    def __init__(self, stops: Iterable[str], include_stop: bool = False) -> None:
        self._include_stop = include_stop
        self._next: list[dict[str, int]] = [{}]
        self._fallback = [0]  # the longest proper suffix of a state that is a state too
        self._depth = [0]  # characters of the state
        self._match = [0]  # length of the longest stop string that ends here, 0 for none
        for stop in stops:
            self._add(stop)
        self._link()
        self._state = 0
        self._held = ""  # may be the beginning of a stop string
        self._stopped = False

    def push(self, text: str) -> tuple[str, bool]:
        """The text that is safe to give now, and whether a stop string was met; after that there is no more text."""
        if self._stopped:
            return "", True
        text = self._held + text
        for at in range(len(self._held), len(text)):
            self._state = self._step(self._state, text[at])
            if length := self._match[self._state]:
                self._stopped, self._held = True, ""
                return text[: at + 1 if self._include_stop else at + 1 - length], True
        safe = len(text) - self._depth[self._state]
        self._held = text[safe:]
        return text[:safe], False

    def flush(self) -> str:
        """What was held back, at the end of a text that met no stop string."""
        held, self._held, self._state = self._held, "", 0
        return held

    def _add(self, stop: str) -> None:
        if not stop:
            raise InvalidRequest("A stop string must not be empty.", param="stop")
        state = 0
        for character in stop:
            if character not in self._next[state]:
                self._next[state][character] = len(self._next)
                self._next.append({})
                self._fallback.append(0)
                self._depth.append(self._depth[state] + 1)
                self._match.append(0)
            state = self._next[state][character]
        self._match[state] = len(stop)

    def _link(self) -> None:
        queue = deque(self._next[0].values())
        while queue:
            state = queue.popleft()
            fallback = self._fallback[state]
            self._match[state] = self._match[state] or self._match[fallback]
            for character, child in self._next[state].items():
                self._fallback[child] = self._step(fallback, character)
                queue.append(child)

    def _step(self, state: int, character: str) -> int:
        while state and character not in self._next[state]:
            state = self._fallback[state]
        return self._next[state].get(character, 0)
