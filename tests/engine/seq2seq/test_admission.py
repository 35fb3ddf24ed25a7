"""Who joins which lane."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from engine.seq2seq.admission import FORESIGHT, PATIENCE, Room, admit, patient
from engine.seq2seq.request import Decoding, TranslateRequest
from engine.seq2seq.sentence import Sentence

ROOM = Room(running=0, max_running=64, free=10_000, rows=(0, 0), under_way=(False, False), max_batch_tokens=512)


def sentence(size: int, beams: int = 1, most: int = 50) -> Sentence:
    decoding = Decoding(max_tokens=most, beams=beams)
    return Sentence(TranslateRequest(f"{size}", tuple(range(size)), decoding), 0)


sentences = st.lists(st.builds(sentence, st.integers(1, 60), st.integers(1, 4), st.integers(1, 80)), max_size=30)
rooms = st.builds(
    lambda lanes, **more: Room(rows=[rows for rows, _ in lanes], under_way=[moving for _, moving in lanes], **more),
    lanes=st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=4),
    running=st.integers(0, 20),
    max_running=st.integers(1, 20),
    free=st.integers(0, 600),
    max_batch_tokens=st.integers(60, 200),
)


@given(sentences, rooms)
def test_whoever_joins_finds_room(waiting: list[Sentence], room: Room) -> None:
    places = admit(waiting, room)
    joined = list(zip(waiting, places, strict=False))
    assert len(places) <= max(0, room.max_running - room.running)
    assert not any(room.under_way[place] for place in places)
    for place in set(places):
        sizes = [len(one.request.source) for one, where in joined if where == place]
        assert len(sizes) == 1 or sum(sizes) <= room.max_batch_tokens
        rows = sum(one.width for one, where in joined if where == place)
        assert room.rows[place] + rows <= room.max_batch_tokens or (room.rows[place] == 0 and len(sizes) == 1)
    if room.running or len(places) > 1:
        taken = sum(len(one.request.source) for one, _ in joined)
        assert not places or taken + sum(room.rows) + sum(one.width for one, _ in joined[:-1]) <= room.free


@given(sentences, rooms)
def test_more_room_never_lets_fewer_in(waiting: list[Sentence], room: Room) -> None:
    assert len(admit(waiting, replace(room, free=room.free + 100))) >= len(admit(waiting, room))


def test_lanes_fill_evenly() -> None:
    assert admit([sentence(10)] * 5, ROOM) == [0, 1, 0, 1, 0]
    assert admit([sentence(10)] * 3, replace(ROOM, rows=(4, 2))) == [1, 1, 0]


def test_where_the_emptiest_lane_is_under_way_sentences_wait_for_it() -> None:
    assert admit([sentence(10)], replace(ROOM, rows=(4, 2), under_way=(False, True))) == []
    assert admit([sentence(10)], replace(ROOM, rows=(4, 4), under_way=(False, True))) == [0]


def test_the_first_of_all_needs_no_foresight() -> None:
    """It fits alone: the check of requests saw to that."""
    tight = replace(ROOM, free=10)
    assert admit([sentence(10)], tight) == [0]
    assert admit([sentence(10)], replace(tight, running=1, rows=(1, 0))) == []
    enough = 1 + 10 + (10 + FORESIGHT)
    assert admit([sentence(10)], replace(ROOM, running=1, rows=(1, 0), free=enough)) == [1]
    assert admit([sentence(10)], replace(ROOM, running=1, rows=(1, 0), free=enough - 1)) == []


def test_beside_many_a_few_wait_for_others() -> None:
    busy = replace(ROOM, running=40)
    assert patient(9, busy, 0)
    assert not patient(9, busy, PATIENCE)
    assert not patient(10, busy, 0)
    assert not patient(0, busy, 0)
    assert not patient(1, replace(ROOM, running=3), 0)
