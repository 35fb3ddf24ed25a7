"""Running sentences that are decoded in the same way with as many hypotheses each, as arrays.

S sentences, B hypotheses each; a row is one hypothesis. A hypothesis reads its past through its row of a table of
slots. When beam search lets it continue another one, it takes over that one's row of the table; no key or value moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.seq2seq import beam, strands
from engine.seq2seq.arrays import chosen, joined, with_room
from engine.seq2seq.beam import Beams
from engine.seq2seq.choice import Choice, Chosen, Draw
from engine.seq2seq.request import Hypothesis
from engine.seq2seq.restrict import Restrictions
from engine.seq2seq.sentence import Method, Sentence
from engine.seq2seq.slots import Ids, Slots
from engine.seq2seq.strands import Strands

Ints = NDArray[np.int32]

NONE = -1  # in `taken`: a slot that was given back


@dataclass(frozen=True, slots=True)
class Places:
    """Where the sentences' tokens are in the cache."""

    lengths: Ints  # (S,) target tokens in the cache, and so the position of the next
    next: Ints  # (S, B) the tokens that go in next
    table: Ints  # (S, B, L) the slots of each hypothesis' tokens
    taken: Ints  # (S, B, L) every slot that was taken for the target, in the order of taking


@dataclass(frozen=True, slots=True)
class Feed:
    """What the group's rows bring to a step: arrays as in `engine.models.cross_decoder.Rows`, rows in order."""

    tokens: Ints
    positions: Ints
    slots: Ints
    table: Ints
    lengths: Ints
    source_table: Ints
    source_lengths: Ints


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens with a meaning of their own: what a target starts with, and what ends it."""

    start: int
    ends: tuple[int, ...]


class Group:
    """State has one owner, the engine. `join`, then per step `feed` and `choice`, `advance` with what was chosen, and
    `leave` for those that are done. Sentences may leave at any time, but join only between steps."""

    def __init__(self, method: Method, width: int, vocabulary: Vocabulary) -> None:
        self.method = method
        self.width = width
        self.vocabulary = vocabulary
        self.sentences: list[Sentence] = []
        self.under_way: list[Sentence] | None = None  # those of the step that is not answered yet
        self.places: Places
        self.state: Beams | Strands

    @property
    def rows(self) -> int:
        return len(self.sentences) * self.width

    def join(self, sentences: Sequence[Sentence]) -> None:
        """Takes in sentences whose source is in the cache, with nothing generated yet."""
        count = len(sentences)
        decodings = [sentence.request.decoding for sentence in sentences]
        places = Places(
            lengths=np.zeros(count, np.int32),
            next=np.full((count, self.width), self.vocabulary.start, np.int32),
            table=np.zeros((count, self.width, 0), np.int32),
            taken=np.zeros((count, self.width, 0), np.int32),
        )
        state = (beam if self.method == "beam" else strands).start(decodings, self.width)
        if self.sentences:
            places, state = joined(self.places, places), joined(self.state, state)
        self.places, self.state = places, state
        self.sentences += sentences
        self._prepare()

    def leave(self, kept: NDArray[np.bool_]) -> None:
        """Keeps only some of the sentences, (S,)."""
        self.sentences = [sentence for sentence, keep in zip(self.sentences, kept.tolist(), strict=True) if keep]
        self.places, self.state = chosen(self.places, kept), chosen(self.state, kept)
        if self.sentences:
            self._prepare()

    def _prepare(self) -> None:
        """What stays the same until somebody joins or leaves."""
        decodings = [sentence.request.decoding for sentence in self.sentences]
        self.restrictions = Restrictions(
            decodings, self.width, self.vocabulary.start, self.vocabulary.ends, normalized=self.method == "beam"
        )
        sources = [sentence.source_slots for sentence in self.sentences]
        table = np.zeros((len(sources), max(map(len, sources))), np.int32)
        for row, slots in enumerate(sources):
            table[row, : len(slots)] = slots
        self.source_table = np.repeat(table, self.width, axis=0)
        self.source_lengths = np.repeat(np.array([len(slots) for slots in sources], np.int32), self.width)

    def feed(self, slots: Ids) -> Feed:
        """The rows of the next step, whose new tokens go into `slots` (S * B,)."""
        longest = int(self.places.lengths.max()) + 1
        if self.places.table.shape[2] < longest:
            self.places = with_room(self.places, longest)
        self.under_way = list(self.sentences)
        places = self.places
        count, lengths = len(self.sentences), places.lengths
        rows = np.arange(count)
        for array in (places.table, places.taken):
            array[rows, :, lengths] = slots.reshape(count, self.width)
        return Feed(
            tokens=places.next.reshape(-1),
            positions=np.repeat(lengths, self.width),
            slots=slots,
            table=places.table[:, :, :longest].reshape(-1, longest),
            lengths=np.repeat(lengths + 1, self.width),
            source_table=self.source_table,
            source_lengths=self.source_lengths,
        )

    def choice(self) -> Choice:
        """How the rows of the next step choose their tokens."""
        lengths, ends = self.places.lengths, self.vocabulary.ends
        restricted = self.restrictions.resolve(lengths, self.state.tokens)
        if self.method == "beam":
            return Choice(self.rows, beam.candidates(self.width, len(ends)), restricted)
        draws = tuple(
            Draw(params, length)
            for sentence, length in zip(self.sentences, lengths.tolist(), strict=True)
            for params in sentence.draws
        )
        return Choice(self.rows, 1, restricted, draws)

    def advance(self, found: Chosen) -> NDArray[np.bool_]:
        """Takes in what was chosen for the rows that `feed` gave; says which sentences are done, (S,)."""
        places, ends = self.places, self.vocabulary.ends
        scores, tokens = self._still_here(found.scores), self._still_here(found.tokens)
        self.under_way = None
        for sentence in self.sentences:
            sentence.steps += 1
        if isinstance(self.state, Beams):
            step = beam.advance(self.state, places.lengths, scores, tokens, ends)
            rows = np.arange(len(self.sentences))[:, None]
            self.state = step.beams
            self.places = replace(
                places, lengths=places.lengths + 1, next=step.tokens, table=places.table[rows, step.parents]
            )
            return step.stopped
        self.state, done = strands.advance(self.state, places.lengths, scores[:, :, 0], tokens[:, :, 0], ends)
        self.places = replace(places, lengths=places.lengths + 1, next=tokens[:, :, 0])
        return done

    def _still_here(self, found: NDArray[Any]) -> NDArray[Any]:
        """An answer's rows (R, K) as (S, B, K), without those of sentences that have left since."""
        assert self.under_way is not None
        whole = found.reshape(len(self.under_way), self.width, -1)
        if len(self.under_way) == len(self.sentences):
            return whole
        here = set(map(id, self.sentences))
        return whole[[id(sentence) in here for sentence in self.under_way]]

    def cancel(self, slots: Slots) -> None:
        """The step under way is not going to be answered."""
        self.under_way = None
        rows = np.arange(len(self.sentences))
        slots.give(self.places.taken[rows, :, self.places.lengths].reshape(-1))

    def results(self, index: int) -> tuple[Hypothesis, ...]:
        """The hypotheses of a sentence that is done."""
        decoding = self.sentences[index].request.decoding
        if isinstance(self.state, Beams):
            return beam.results(self.state, index, decoding.hypotheses, self.vocabulary.ends)
        return strands.results(self.state, index, decoding.length_penalty, self.vocabulary.ends)

    def held(self, index: int) -> Ids:
        """All slots of a sentence."""
        places = self.places
        taken = places.taken[index, :, : self._taken(places.lengths[index])]
        return np.concatenate([self.sentences[index].source_slots, taken[taken != NONE]])

    def collect(self, slots: Slots) -> None:
        """Gives back what no hypothesis reads any more."""
        for index, length in enumerate(self.places.lengths.tolist()):
            length = self._taken(length)
            taken = self.places.taken[index, :, :length]
            dead = (taken != NONE) & ~np.isin(taken, self.places.table[index, :, :length])
            slots.give(taken[dead])
            taken[dead] = NONE

    def _taken(self, length: int) -> int:
        """Target tokens that have slots: while a step is under way, one more than are in the cache."""
        return length + (self.under_way is not None)
