"""Which tokens of which sequences run in the next step. No tensors, no clock but the one that is passed in.

Running sequences come first, in order of (priority, arrival); what is left of the token budget goes to prefill chunks
of those that wait. A prompt that is longer than a step leaves half of the room to the next one, so that a short one
need not wait for all of it; and as each of its tokens looks back at all before it, a chunk has the fewer tokens the
further it begins, or steps would become longer and longer for those that decode. When the cache is short, the last in
that order gives its blocks back and waits again, to be computed anew; so does a running sequence of lower priority than
one that waits.

Several steps may be under way, in the order of their making. A prompt's next chunk need not wait for the one before,
but who decodes waits for the token; so those that decode are dealt out to as many steps as there are stages.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass

from engine.block_manager import BlockManager
from engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Chunk:
    """`count` tokens of one sequence from `start` on. With `last`, its next token can be sampled afterwards."""

    sequence: Sequence
    start: int
    count: int
    last: bool
    epoch: int

    @property
    def stale(self) -> bool:
        """Whether the sequence has given its blocks back since: what was computed is of no use."""
        return self.epoch != self.sequence.epoch


class Scheduler:
    """Of steps of which up to `depth` are under way at once. A token with `double_at` others before it takes twice as
    long as the first of a prompt; 0: all take the same time."""

    def __init__(
        self, blocks: BlockManager, max_batch_tokens: int, max_running: int, depth: int = 1, double_at: int = 0
    ) -> None:
        self.blocks = blocks
        self.depth = depth
        self.double_at = double_at
        self.max_batch_tokens = max_batch_tokens
        self.max_running = max_running
        self.waiting: list[Sequence] = []  # sorted by rank
        self.running: list[Sequence] = []  # sorted by rank
        self.preemptions = 0

    def add(self, sequence: Sequence) -> None:
        """Puts a new sequence into the queue."""
        bisect.insort(self.waiting, sequence, key=lambda s: s.rank)

    def remove(self, sequence: Sequence) -> None:
        """Takes a sequence out, wherever it is, and gives its blocks back."""
        (self.running if sequence.running else self.waiting).remove(sequence)
        self._release(sequence)

    def schedule(self) -> list[Chunk]:
        """The chunks of the next step; empty if there is nothing to do that does not wait for a step under way. Blocks
        for them are taken."""
        share = -(-len(self.running) // self.depth)  # of those that decode
        budget = self._budget(share)
        chunks: list[Chunk] = []
        # Decoding first, one token each: a prompt of any length cannot hold up those that stream already.
        preemptions = self.preemptions
        decoding = [s for s in self.running if s.missing == 1]
        prompts = [s for s in self.running if s.missing > 1]
        for sequence in decoding[:share]:
            if budget > 0 and sequence.running and self._make_room(sequence, 1, chunks):
                chunks.append(self._chunk(sequence, 1))
                budget -= 1
        for sequence, following in zip(prompts, [*prompts, self._next_waiting(0)][1:], strict=True):
            count = self._portion(sequence, budget, following)
            if count and sequence.running and self._make_room(sequence, count, chunks):
                chunks.append(self._chunk(sequence, count))
                budget -= self._cost(chunks[-1])
        # Whoever was preempted just now would come straight back and be thrown out again.
        while self.waiting and budget > 0 and preemptions == self.preemptions:
            sequence = self.waiting[0]
            count = self._admit(sequence, budget, chunks)
            if not count:
                break
            chunks.append(self._chunk(sequence, count))
            budget -= self._cost(chunks[-1])
        return chunks

    def landed(self, chunk: Chunk) -> None:
        """Notes that the chunk's tokens are in the cache and remembers the blocks that they filled."""
        sequence, size = chunk.sequence, self.blocks.block_size
        sequence.landed = chunk.start + chunk.count
        while (sequence.hashed + 1) * size <= sequence.landed:
            at = sequence.hashed
            tokens = sequence.tokens[at * size : (at + 1) * size]
            sequence.parent = self.blocks.remember(sequence.blocks[at], sequence.parent, tokens)
            sequence.hashed += 1

    def start_over(self) -> None:
        """Nothing is in the cache any more: all that run wait again, and nothing is remembered."""
        for sequence in self.running:
            self._release(sequence)
        for sequence in self.running:
            self.add(sequence)
        self.running = []
        self.blocks.forget()

    def check(self) -> None:
        """Asserts that queues and blocks agree."""
        self.blocks.check()
        held = [block for sequence in self.running for block in sequence.blocks]
        assert len(set(held)) == self.blocks.used
        assert all(not s.blocks and s.computed == 0 for s in self.waiting)
        for sequence in self.running:
            assert len(sequence.blocks) * self.blocks.block_size >= sequence.computed >= sequence.landed
        for queue in (self.running, self.waiting):
            assert [s.rank for s in queue] == sorted(s.rank for s in queue)
        assert len(self.running) <= self.max_running

    def _budget(self, share: int) -> int:
        """Tokens of a step in which up to `share` sequences decode."""
        if self.depth == 1:
            return self.max_batch_tokens
        # Small enough that one prompt alone fills the stages with its chunks; but those that decode all get their turn,
        # and a prompt gets on beside them.
        chunk = -(-self.max_batch_tokens // (2 * self.depth))
        return min(self.max_batch_tokens, max(chunk, share + -(-chunk // 2)))

    def _next_waiting(self, at: int) -> Sequence | None:
        """The one at this place of the queue, where so many can run beside those that do."""
        return self.waiting[at] if at < min(len(self.waiting), self.max_running - len(self.running)) else None

    def _portion(self, sequence: Sequence, budget: int, following: Sequence | None) -> int:
        """Tokens of the sequence's next chunk; 0 where there is no budget. `following` is the next in order."""
        most = int(budget / self._times(sequence.computed))
        if sequence.missing > most and following and following.request.priority == sequence.request.priority:
            most = -(-most // 2)
        return min(sequence.missing, max(most, min(budget, 1), 0))

    def _cost(self, chunk: Chunk) -> int:
        """What a prompt's chunk takes of the budget: at least its tokens."""
        return math.ceil(chunk.count * self._times(chunk.start))

    def _times(self, start: int) -> float:
        """How many times as long as a prompt's first token one takes that has so many before it."""
        return 1 + start / self.double_at if self.double_at else 1.0

    def _chunk(self, sequence: Sequence, count: int) -> Chunk:
        chunk = Chunk(sequence, sequence.computed, count, last=count == sequence.missing, epoch=sequence.epoch)
        sequence.computed += count
        return chunk

    def _needed(self, sequence: Sequence, count: int) -> int:
        """Blocks that the sequence's next chunk lacks."""
        return -(-(sequence.computed + count) // self.blocks.block_size) - len(sequence.blocks)

    def _make_room(self, sequence: Sequence, count: int, chunks: list[Chunk]) -> bool:
        """Takes the blocks for a running sequence's next chunk, preempting from the end of the order if need be.

        False if the sequence itself had to go.
        """
        while (taken := self.blocks.take(self._needed(sequence, count))) is None:
            victim = self.running[-1]
            self._preempt(victim, chunks)
            if victim is sequence:
                return False
        sequence.blocks += taken
        return True

    def _admit(self, sequence: Sequence, budget: int, chunks: list[Chunk]) -> int:
        """Moves the first of the queue to running with the blocks for its first chunk, if there is room for it: that
        chunk's tokens, or 0."""
        if len(self.running) == self.max_running and not self._outranks(sequence, self.running[-1]):
            return 0
        sequence.blocks = self._match(sequence)
        matched = len(sequence.blocks)
        sequence.computed = sequence.landed = matched * self.blocks.block_size
        count = self._portion(sequence, budget, self._next_waiting(1))
        while True:
            if len(self.running) < self.max_running:
                taken = self.blocks.take(self._needed(sequence, count))
                if taken is not None:
                    break
            if not self.running or not self._outranks(sequence, self.running[-1]):
                self._release(sequence)
                return 0
            self._preempt(self.running[-1], chunks)
        sequence.blocks += taken
        self.waiting.remove(sequence)
        sequence.running = True
        bisect.insort(self.running, sequence, key=lambda s: s.rank)
        self._note_match(sequence, matched)
        return count

    @staticmethod
    def _outranks(sequence: Sequence, other: Sequence) -> bool:
        return sequence.request.priority < other.request.priority

    def _match(self, sequence: Sequence) -> list[int]:
        if sequence.request.sampling.prompt_logprobs is not None and not sequence.reported:
            return []  # the cache has no logits: every prompt token must be computed
        return self.blocks.match(sequence.tokens)

    def _note_match(self, sequence: Sequence, matched: int) -> None:
        size = self.blocks.block_size
        for at in range(matched):
            tokens = sequence.tokens[at * size : (at + 1) * size]
            sequence.parent = self.blocks.remember(sequence.blocks[at], sequence.parent, tokens)
        sequence.hashed = matched
        if not sequence.admitted:  # what it finds after a preemption may be its own work
            sequence.admitted = True
            sequence.cached = min(matched * size, len(sequence.request.prompt))

    def _preempt(self, victim: Sequence, chunks: list[Chunk]) -> None:
        self.preemptions += 1
        self.running.remove(victim)
        self._release(victim)
        chunks[:] = [chunk for chunk in chunks if chunk.sequence is not victim]
        self.add(victim)

    def _release(self, sequence: Sequence) -> None:
        self.blocks.release(sequence.blocks)
        sequence.blocks, sequence.computed, sequence.landed, sequence.hashed, sequence.parent = [], 0, 0, 0, b""
        sequence.epoch += 1
        sequence.running = False
