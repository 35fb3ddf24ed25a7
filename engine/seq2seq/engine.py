"""The encoder-decoder's step: admit and encode sentences, decode one token of every hypothesis, hand out what is done.

Sentences join and leave between steps. Each computes what it would compute alone. Where the work is done in stages,
there are as many lanes of sentences: while one lane's step is at one stage, others' are at the others.
`engine/loop.py` drives it.
"""

from __future__ import annotations

import bisect
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from engine.errors import DeadlineExceeded, InvalidRequest, ReplicaLost, StagelineError, StageLost
from engine.models.cross_architecture import Seq2SeqArchitecture
from engine.models.packed import Text, pack
from engine.pipeline.blame import Blame
from engine.pipeline.runner import Runner
from engine.seq2seq.admission import Room, admit, patient
from engine.seq2seq.check import check_request
from engine.seq2seq.group import Feed, Group, Vocabulary
from engine.seq2seq.lane import Lane, batch
from engine.seq2seq.request import Translated, TranslateRequest
from engine.seq2seq.sentence import Sentence
from engine.seq2seq.slots import Ids, Slots
from engine.seq2seq.work import Answer, DecodeWork, EncodeWork, Work

log = logging.getLogger(__name__)

Output = tuple[str, Translated]  # request id and its answer


@dataclass(frozen=True, slots=True)
class Seq2SeqLimits:
    """What one engine takes, resolved from configuration and memory; see `Seq2SeqConfig`. `slots` hold a token each."""

    max_model_len: int
    max_new_tokens: int
    slots: int
    max_batch_tokens: int
    max_running: int
    max_waiting: int


@dataclass(frozen=True, slots=True)
class Seq2SeqStats:
    """A snapshot. The second group only ever grows; generated tokens are those of the answers."""

    running: int
    waiting: int
    slots_used: int
    slots_total: int
    sentences: int
    prompt_tokens: int
    padding_tokens: int  # that encoded batches would have had, each sentence as long as the longest
    generated_tokens: int
    preemptions: int
    steps: int


@dataclass(frozen=True, slots=True)
class Flight:
    """Work under way: a step of a lane's groups, or with no groups, the `sources` of sentences that are encoded.

    Who leaves meanwhile gives its slots back at once: they are not written again before this work has been done.
    """

    lane: Lane
    groups: tuple[Group, ...] = ()
    tokens: int = 0
    sources: tuple[Sentence, ...] = ()


class Seq2SeqEngine:
    """Continuous batching over one encoder-decoder. State has one owner: whoever calls `add`, `abort` and `step`.

    `kernels` is the name of those that compute.
    """

    def __init__(
        self,
        runner: Runner[Work, Answer],
        limits: Seq2SeqLimits,
        arch: Seq2SeqArchitecture,
        vocabulary: Vocabulary,
        kernels: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.blame = Blame()
        self.runner = runner
        self.limits = limits
        self.arch = arch
        self.vocabulary = vocabulary
        self.kernels = kernels
        self.clock = clock
        self.slots = Slots(limits.slots)
        self.lanes = [Lane() for _ in range(runner.depth)]
        self.in_flight: deque[Flight] = deque()
        self.requests: dict[str, Sentence] = {}
        self.waiting: list[Sentence] = []  # sorted by rank
        self.orders = itertools.count()
        self.deadlines = 0  # requests that have one
        self.waited = 0  # steps for which sentences have waited though there was room
        self.last_step_tokens = 0
        self.sentences = self.prompt_tokens = self.generated_tokens = self.preemptions = self.steps = 0
        self.padding_tokens = 0

    def prepare(self, request: TranslateRequest) -> None:
        """Checks a request. Touches no state: may be called off the loop. Raises InvalidRequest."""
        check_request(request, self.limits, self.arch.encoder.vocab_size, self.arch.decoder.vocab_size)

    def add(self, request: TranslateRequest, prepared: None = None) -> None:
        """Queues a prepared request. Raises InvalidRequest for an id in use."""
        if request.id in self.requests:
            raise InvalidRequest(f"request id {request.id!r} is in use", param="request_id")
        sentence = Sentence(request, next(self.orders))
        self.requests[request.id] = sentence
        self.deadlines += request.deadline_s is not None
        self._queue(sentence)

    def abort(self, request_id: str) -> bool:
        """Takes a request out and frees its slots; nothing more is reported of it. False if it is not here."""
        sentence = self.requests.get(request_id)
        if sentence is None:
            return False
        if sentence in self.waiting:
            self.waiting.remove(sentence)
        else:
            self._take_out(sentence)
        self._forget(sentence)
        return True

    @property
    def idle(self) -> bool:
        return not self.requests and not self.in_flight and not self.runner.broken

    @property
    def patience_s(self) -> float:
        """None: whoever comes joins at the next step, a few milliseconds later."""
        return 0.0

    def failed(self, error: StagelineError) -> Translated:
        """The answer to a sentence that cannot be translated."""
        return Translated(error=error)

    def step(self) -> list[Output]:
        """Begins the steps of all lanes at rest, one token of every hypothesis, and waits for the oldest that is under
        way; returns the answers that are complete.

        Where a stage is lost, all sentences start over. Raises ReplicaLost where the runner cannot be repaired.
        """
        outputs = self._expire() if self.deadlines else []
        self.last_step_tokens = 0
        try:
            if self.runner.broken:
                raise StageLost("a stage was lost")
            self._launch()
            if self.in_flight:
                outputs += self._collect()
        except StageLost:
            outputs += self._start_over()
        return outputs

    def close(self) -> None:
        """Ends what the runner has elsewhere."""
        self.runner.close()

    def stats(self) -> Seq2SeqStats:
        return Seq2SeqStats(
            running=self._running(),
            waiting=len(self.waiting),
            slots_used=self.slots.used,
            slots_total=self.slots.total,
            sentences=self.sentences,
            prompt_tokens=self.prompt_tokens,
            padding_tokens=self.padding_tokens,
            generated_tokens=self.generated_tokens,
            preemptions=self.preemptions,
            steps=self.steps,
        )

    def check(self) -> None:
        """Asserts that queues and slots agree."""
        self.slots.check()
        held = [group.held(i) for group in self._groups() for i in range(len(group.sentences))]
        slots = np.concatenate(held) if held else np.zeros(0, np.int32)
        assert len(np.unique(slots)) == len(slots) == self.slots.used
        assert len(self.requests) == self._running() + len(self.waiting)
        assert all(group.sentences for group in self._groups())
        assert sum(lane.under_way for lane in self.lanes) == sum(bool(flight.groups) for flight in self.in_flight)
        assert [s.rank for s in self.waiting] == sorted(s.rank for s in self.waiting)

    def _groups(self) -> list[Group]:
        return [group for lane in self.lanes for group in lane.groups.values()]

    def _running(self) -> int:
        return sum(len(group.sentences) for group in self._groups())

    def _queue(self, sentence: Sentence) -> None:
        bisect.insort(self.waiting, sentence, key=lambda s: s.rank)

    def _forget(self, sentence: Sentence) -> None:
        del self.requests[sentence.request.id]
        self.deadlines -= sentence.request.deadline_s is not None

    def _expire(self) -> list[Output]:
        """Ends requests whose deadline passed; computing on would only keep others waiting."""
        now = self.clock()
        late = [
            s.request.id
            for s in self.requests.values()
            if s.request.deadline_s is not None and s.request.deadline_s <= now
        ]
        for request_id in late:
            self.abort(request_id)
        error = "the request's deadline passed before its answer was complete"
        return [(request_id, self.failed(DeadlineExceeded(error))) for request_id in late]

    def _take_out(self, sentence: Sentence) -> None:
        """Out of its group, with its slots given back."""
        lane, group = next((lane, group) for lane in self.lanes if (group := lane.holds(sentence)) is not None)
        index = group.sentences.index(sentence)
        self.slots.give(group.held(index))
        lane.leave(group, np.arange(len(group.sentences)) != index)

    def _launch(self) -> None:
        resting = [lane for lane in self.lanes if not lane.under_way]
        if not resting:
            return
        preempted = self._make_room(resting)
        # Whoever was preempted just now would come straight back and be thrown out again.
        joining = {} if preempted else self._admit()
        try:
            for place, lane in enumerate(self.lanes):
                tokens = self._encode(lane, joining[place]) if place in joining else 0
                if lane.groups and not lane.under_way:
                    self._decode(lane, tokens)
        except Exception:
            self._send_back(itertools.chain.from_iterable(joining.values()))
            raise

    def _send_back(self, joining: Iterable[Sentence]) -> None:
        """Puts sentences that were admitted just now back into the queue, however far they got."""
        for sentence in joining:
            if any(lane.holds(sentence) for lane in self.lanes):
                self._take_out(sentence)
            else:
                self.slots.give(sentence.source_slots)
            self._queue(sentence)

    def _make_room(self, resting: list[Lane]) -> bool:
        """Sees to it that each of these lanes' rows has a slot for its next token. Whether somebody had to go back to
        the queue for it.

        First what hypotheses left behind is collected; then the last in rank starts over later. The first in rank
        always fits: `check_request` saw to that.
        """
        if self.slots.free >= sum(lane.rows for lane in resting):
            return False
        for group in self._groups():
            group.collect(self.slots)
        preempted = False
        while self.slots.free < sum(lane.rows for lane in resting):
            last = max((s for group in self._groups() for s in group.sentences), key=lambda s: s.rank)
            self._take_out(last)
            self._queue(last)
            self.preemptions += 1
            preempted = True
        return preempted

    def _admit(self) -> dict[int, list[Sentence]]:
        """Takes sentences from the queue. Returns them by the place of their lane, with slots for their sources."""
        room = Room(
            running=self._running(),
            max_running=self.limits.max_running,
            free=self.slots.free,
            rows=[lane.rows for lane in self.lanes],
            under_way=[lane.under_way for lane in self.lanes],
            max_batch_tokens=self.limits.max_batch_tokens,
        )
        if patient(len(self.waiting), room, self.waited):
            self.waited += 1
            return {}
        self.waited = 0
        joining: dict[int, list[Sentence]] = {}
        for place in admit(self.waiting, room):
            sentence = self.waiting.pop(0)
            taken = self.slots.take(len(sentence.request.source))
            assert taken is not None
            sentence.source_slots = taken
            joining.setdefault(place, []).append(sentence)
        return joining

    def _encode(self, lane: Lane, joining: list[Sentence]) -> int:
        """Has the sources of sentences that join the lane encoded. Returns how many tokens they have."""
        now = self.clock()
        for sentence in joining:
            sentence.started_s, sentence.steps = now, 0
        lane.join(joining, self.vocabulary)
        texts = pack([Text(sentence.request.source) for sentence in joining], self.arch.encoder)
        slots = np.concatenate([sentence.source_slots for sentence in joining]).astype(np.int64)
        self.runner.submit(EncodeWork(texts, torch.from_numpy(slots)))
        longest = max(len(sentence.request.source) for sentence in joining)
        self.padding_tokens += longest * len(joining) - sum(len(sentence.request.source) for sentence in joining)
        self.in_flight.append(Flight(lane, sources=tuple(joining)))
        return len(slots)

    def _decode(self, lane: Lane, encoded: int) -> None:
        """Begins the lane's step; each stage comes to it when it is done with what was encoded before."""
        groups = tuple(lane.groups.values())
        taken: list[Ids] = []
        feeds: list[Feed] = []
        try:
            for group in groups:
                slots = self.slots.take(group.rows)
                assert slots is not None
                taken.append(slots)
                feeds.append(group.feed(slots))
            self.runner.submit(DecodeWork(batch(feeds), tuple(group.choice() for group in groups)))
        except Exception:
            for group, slots in zip(groups, taken, strict=False):
                group.under_way = None
                self.slots.give(slots)
            raise
        lane.under_way = True
        # Of answers, as load is counted in: several hypotheses only make each of them dearer.
        tokens = encoded + sum(len(group.sentences) for group in groups)
        self.in_flight.append(Flight(lane, groups, tokens))

    def _collect(self) -> list[Output]:
        """Waits for the oldest step and takes in what was chosen; returns the answers that are complete."""
        while self.in_flight:
            flight, answer = self._answer()
            if flight.groups:
                break
        else:
            return []  # sources whose lane could not go on
        if answer is None:
            return []
        self.steps += 1
        self.last_step_tokens = flight.tokens
        outputs: list[Output] = []
        for group, found in zip(flight.groups, answer, strict=True):
            if not group.sentences:
                continue  # all of them have left meanwhile
            done = group.advance(found)
            if done.any():
                outputs += self._finish(flight.lane, group, done)
        return outputs

    def _answer(self) -> tuple[Flight, Answer | None]:
        """The oldest work and its answer; None where it failed and nobody waits for it any more."""
        try:
            answer = self.runner.answer()
        except (StageLost, ReplicaLost):
            raise
        except Exception as error:
            flight = self._landed()
            wanted = any(flight.lane.holds(sentence) for sentence in flight.sources)
            for group in flight.groups:
                if group.sentences:
                    group.cancel(self.slots)
                    wanted = True
            if wanted:
                raise
            log.warning("work that nobody waits for any more failed: %s", error)
            return flight, None
        return self._landed(), answer

    def _landed(self) -> Flight:
        flight = self.in_flight.popleft()
        if flight.groups:
            flight.lane.under_way = False
        return flight

    def _start_over(self) -> list[Output]:
        """Puts all sentences back into the queue, and has the runner repaired."""
        running = set(self.requests) - {sentence.request.id for sentence in self.waiting}
        guilty = self.blame.lost(running if self.in_flight else ())
        self.slots = Slots(self.limits.slots)
        self.lanes = [Lane() for _ in self.lanes]
        self.in_flight.clear()
        self.waiting = sorted(self.requests.values(), key=lambda s: s.rank)
        self.runner.repair()
        for request_id in guilty:
            self.abort(request_id)
        return [(request_id, self.failed(self.blame.error())) for request_id in guilty]

    def _finish(self, lane: Lane, group: Group, done: np.ndarray) -> list[Output]:
        now = self.clock()
        outputs = []
        for index in done.nonzero()[0].tolist():
            sentence = group.sentences[index]
            hypotheses = group.results(index)
            self.slots.give(group.held(index))
            self._forget(sentence)
            self.blame.gained(sentence.request.id)
            self.sentences += 1
            self.prompt_tokens += len(sentence.request.source)
            self.generated_tokens += sum(len(hypothesis.tokens) for hypothesis in hypotheses)
            queued = max(0.0, sentence.started_s - (sentence.request.arrival_s or sentence.started_s))
            answer = Translated(hypotheses, queued, now - sentence.started_s, sentence.steps)
            outputs.append((sentence.request.id, answer))
        lane.leave(group, ~done)
        return outputs
