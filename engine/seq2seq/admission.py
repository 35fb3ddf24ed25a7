"""Who joins: which of the sentences that wait go to which lane, by what room there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.seq2seq.sentence import Sentence

PATIENCE = 3  # steps that a sentence waits for others to be encoded with
FORESIGHT = 8  # more target tokens than source tokens for which there must be room when a sentence is admitted


@dataclass(frozen=True, slots=True)
class Room:
    """What there is: sentences that run and may run, slots that are free, rows of each lane and whether it is under
    way, and the most tokens (sources), or rows, of a batch."""

    running: int
    max_running: int
    free: int
    rows: Sequence[int]
    under_way: Sequence[bool]
    max_batch_tokens: int


def patient(waiting: int, room: Room, waited: int) -> bool:
    """Whether sentences that could join wait on, after `waited` steps of it: beside many others several are better
    encoded in one go."""
    ready = min(waiting, room.max_running - room.running)
    return 0 < ready < room.running // 4 and waited < PATIENCE


def admit(waiting: Sequence[Sentence], room: Room) -> list[int]:
    """The places of the lanes that the first sentences of the queue join, one for each: the lane with the fewest rows.
    Where that is under way, they wait until it rests."""
    places: list[int] = []
    rows, tokens, free = list(room.rows), [0] * len(room.rows), room.free
    for running, sentence in enumerate(waiting[: max(0, room.max_running - room.running)], room.running):
        size, width = len(sentence.request.source), sentence.width
        place = min(range(len(rows)), key=lambda one: (rows[one], room.under_way[one]))
        if room.under_way[place]:
            break
        if tokens[place] and tokens[place] + size > room.max_batch_tokens:
            break
        if rows[place] and rows[place] + width > room.max_batch_tokens:
            break
        ahead = min(sentence.request.decoding.max_tokens, size + FORESIGHT)
        if running and free < sum(rows) + size + width * ahead:
            break
        places.append(place)
        free -= size
        tokens[place] += size
        rows[place] += width
    return places
