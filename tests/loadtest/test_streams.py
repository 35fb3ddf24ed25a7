from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from loadtest.streams import EventReader

STREAM = (
    'data: {"a": "ü"}\n\n: a comment\n\ndata: one\r\ndata: two\r\n\r\nevent: x\ndata:three\n\ndata: [DONE]\n\n'.encode()
)
EVENTS = ['{"a": "ü"}'.encode(), b"one\ntwo", b"three", b"[DONE]"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_do_not_depend_on_the_pieces(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    reader = EventReader()
    found = [event for begin, end in pairwise(edges) for event in reader.feed(STREAM[begin:end])]
    assert found == EVENTS


def test_an_event_without_its_end_is_none() -> None:
    assert EventReader().feed(b"data: half\n") == []
