"""The encoder-decoder's step: admit and encode sentences, decode one token of every hypothesis, hand out what is done.

Sentences join and leave between steps. Each computes what it would compute alone. `engine/loop.py` drives it.
"""

from __future__ import annotations

import bisect
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.errors import DeadlineExceeded, InvalidRequest, StagelineError
from engine.models.cross_decoder import Rows
from engine.models.packed import Text, pack
from engine.models.seq2seq import Seq2Seq
from engine.seq2seq.check import check_request
from engine.seq2seq.group import Feed, Group, Vocabulary
from engine.seq2seq.request import Translated, TranslateRequest
from engine.seq2seq.sentence import Method, Sentence
from engine.seq2seq.slots import Ids, Slots

Output = tuple[str, Translated]  # request id and its answer

PATIENCE = 3  # steps that a sentence waits for others to be encoded with
FORESIGHT = 8  # more target tokens than source tokens for which there must be room when a sentence is admitted


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
    generated_tokens: int
    preemptions: int
    steps: int


class Seq2SeqEngine:
    """Continuous batching over one encoder-decoder. State has one owner: whoever calls `add`, `abort` and `step`."""

    def __init__(
        self,
        model: Seq2Seq,
        caches: list[Tensor],
        limits: Seq2SeqLimits,
        vocabulary: Vocabulary,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.model = model
        self.caches = caches
        self.limits = limits
        self.vocabulary = vocabulary
        self.clock = clock
        self.slots = Slots(limits.slots)
        self.groups: dict[tuple[Method, int], Group] = {}
        self.requests: dict[str, Sentence] = {}
        self.waiting: list[Sentence] = []  # sorted by rank
        self.orders = itertools.count()
        self.deadlines = 0  # requests that have one
        self.waited = 0  # steps for which sentences have waited though there was room
        self.last_step_tokens = 0
        self.sentences = self.prompt_tokens = self.generated_tokens = self.preemptions = self.steps = 0

    def prepare(self, request: TranslateRequest) -> None:
        """Checks a request. Touches no state: may be called off the loop. Raises InvalidRequest."""
        arch = self.model.encoder.arch, self.model.decoder.arch
        check_request(request, self.limits, arch[0].vocab_size, arch[1].vocab_size)

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
        return not self.requests

    @property
    def patience_s(self) -> float:
        """None: whoever comes joins at the next step, a few milliseconds later."""
        return 0.0

    def failed(self, error: StagelineError) -> Translated:
        """The answer to a sentence that cannot be translated."""
        return Translated(error=error)

    def step(self) -> list[Output]:
        """Computes one token of every running hypothesis; returns the answers that are complete."""
        outputs = self._expire() if self.deadlines else []
        preempted = self._make_room()
        # Whoever was preempted just now would come straight back and be thrown out again.
        self.last_step_tokens = 0 if preempted else self._admit()
        if self.groups:
            outputs += self._decode()
        return outputs

    def close(self) -> None:
        """There is nothing elsewhere."""

    def stats(self) -> Seq2SeqStats:
        return Seq2SeqStats(
            running=self._running(),
            waiting=len(self.waiting),
            slots_used=self.slots.used,
            slots_total=self.slots.total,
            sentences=self.sentences,
            prompt_tokens=self.prompt_tokens,
            generated_tokens=self.generated_tokens,
            preemptions=self.preemptions,
            steps=self.steps,
        )

    def check(self) -> None:
        """Asserts that queues and slots agree."""
        self.slots.check()
        held = [group.held(i) for group in self.groups.values() for i in range(len(group.sentences))]
        slots = np.concatenate(held) if held else np.zeros(0, np.int32)
        assert len(np.unique(slots)) == len(slots) == self.slots.used
        assert len(self.requests) == self._running() + len(self.waiting)
        assert all(group.sentences for group in self.groups.values())
        assert [s.rank for s in self.waiting] == sorted(s.rank for s in self.waiting)

    def _running(self) -> int:
        return sum(len(group.sentences) for group in self.groups.values())

    def _rows(self) -> int:
        return sum(group.rows for group in self.groups.values())

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
        group = self.groups[sentence.method, sentence.width]
        index = group.sentences.index(sentence)
        self.slots.give(group.held(index))
        self._leave(group, np.arange(len(group.sentences)) != index)

    def _leave(self, group: Group, kept: np.ndarray) -> None:
        group.leave(kept)
        if not group.sentences:
            del self.groups[group.method, group.width]

    def _make_room(self) -> bool:
        """Sees to it that each row has a slot for its next token. Whether somebody had to go back to the queue for it.

        First what hypotheses left behind is collected; then the last in rank starts over later. The first in rank
        always fits: `check_request` saw to that.
        """
        if self.slots.free >= self._rows():
            return False
        for group in self.groups.values():
            group.collect(self.slots)
        preempted = False
        while self.slots.free < self._rows():
            last = max((s for group in self.groups.values() for s in group.sentences), key=lambda s: s.rank)
            self._take_out(last)
            self._queue(last)
            self.preemptions += 1
            preempted = True
        return preempted

    def _admit(self) -> int:
        """Moves sentences from the queue to their groups and encodes them. Returns their source tokens.

        Beside many others a sentence waits a few steps until several can be encoded in one go.
        """
        joining: list[Sentence] = []
        tokens, running, rows = 0, self._running(), self._rows()
        ready = min(len(self.waiting), self.limits.max_running - running)
        if 0 < ready < running // 4 and self.waited < PATIENCE:
            self.waited += 1
            return 0
        self.waited = 0
        while self.waiting and running < self.limits.max_running:
            sentence = self.waiting[0]
            size = len(sentence.request.source)
            if joining and tokens + size > self.limits.max_batch_tokens:
                break
            if rows and rows + sentence.width > self.limits.max_batch_tokens:
                break
            ahead = min(sentence.request.decoding.max_tokens, size + FORESIGHT)
            if rows and self.slots.free < rows + size + sentence.width * ahead:
                break
            taken = self.slots.take(size)
            assert taken is not None
            sentence.source_slots = taken
            joining.append(self.waiting.pop(0))
            tokens, running, rows = tokens + size, running + 1, rows + sentence.width
        if joining:
            self._encode(joining)
        return tokens

    def _encode(self, joining: list[Sentence]) -> None:
        now = self.clock()
        encoder, decoder = self.model.encoder, self.model.decoder
        texts = pack([Text(sentence.request.source) for sentence in joining], encoder.arch, encoder.kernels.device)
        slots = np.concatenate([sentence.source_slots for sentence in joining])
        decoder.remember(encoder.forward(texts), self._tensor(slots, torch.int64), self.caches)
        arrivals: dict[tuple[Method, int], list[Sentence]] = {}
        for sentence in joining:
            sentence.started_s, sentence.steps = now, 0
            arrivals.setdefault((sentence.method, sentence.width), []).append(sentence)
        for key, sentences in arrivals.items():
            self.groups.setdefault(key, Group(*key, self.vocabulary)).join(sentences)

    @torch.inference_mode()
    def _decode(self) -> list[Output]:
        groups = list(self.groups.values())
        feeds = []
        for group in groups:
            slots = self.slots.take(group.rows)
            assert slots is not None
            feeds.append(group.feed(slots))
        decoder = self.model.decoder
        logits = decoder.logits(decoder.forward(self._batch(feeds), self.caches))
        self.steps += 1
        # Of answers, as load is counted in: several hypotheses only make each of them dearer.
        self.last_step_tokens += sum(len(group.sentences) for group in groups)
        outputs: list[Output] = []
        for group, rows in zip(groups, logits.split([group.rows for group in groups]), strict=True):
            done = group.advance(rows, decoder.kernels)
            if done.any():
                outputs += self._finish(group, done)
        return outputs

    def _finish(self, group: Group, done: np.ndarray) -> list[Output]:
        now = self.clock()
        outputs = []
        for index in done.nonzero()[0].tolist():
            sentence = group.sentences[index]
            hypotheses = group.results(index)
            self.slots.give(group.held(index))
            self._forget(sentence)
            self.sentences += 1
            self.prompt_tokens += len(sentence.request.source)
            self.generated_tokens += sum(len(hypothesis.tokens) for hypothesis in hypotheses)
            queued = max(0.0, sentence.started_s - (sentence.request.arrival_s or sentence.started_s))
            answer = Translated(hypotheses, queued, now - sentence.started_s, sentence.steps)
            outputs.append((sentence.request.id, answer))
        self._leave(group, ~done)
        return outputs

    def _batch(self, feeds: list[Feed]) -> Rows:
        def whole(name: str) -> Ids:
            parts: list[Ids] = [getattr(feed, name) for feed in feeds]
            if len(parts) == 1:
                return parts[0]
            if parts[0].ndim == 1:
                return np.concatenate(parts)
            widest = max(part.shape[1] for part in parts)
            return np.concatenate([np.pad(part, ((0, 0), (0, widest - part.shape[1]))) for part in parts])

        return Rows(
            tokens=self._tensor(whole("tokens"), torch.int64),
            positions=self._tensor(whole("positions"), torch.int64),
            slots=self._tensor(whole("slots"), torch.int64),
            table=self._tensor(whole("table"), torch.int32),
            lengths=self._tensor(whole("lengths"), torch.int32),
            source_table=self._tensor(whole("source_table"), torch.int32),
            source_lengths=self._tensor(whole("source_lengths"), torch.int32),
        )

    def _tensor(self, array: np.ndarray, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.model.kernels.device, dtype)
