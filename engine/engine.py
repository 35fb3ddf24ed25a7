"""The engine's step: schedule, run, postprocess. Synchronous, one thread; `engine/loop.py` drives it.

Where the runner takes several pieces of work at once, further steps are launched before the first is answered.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.batch import Span, build_batch
from engine.block_manager import BlockManager
from engine.errors import DeadlineExceeded, InvalidRequest, ReplicaLost, StagelineError, StageLost
from engine.pipeline.blame import Blame
from engine.pipeline.generation import Answer, PromptAsk, Work
from engine.pipeline.runner import Runner
from engine.request import Delta, FinishReason, GrammarSpec, Request, Timings
from engine.sampling.grammar_state import CompiledGrammar
from engine.sampling.row import Row
from engine.sampling.sampler import Sampled
from engine.scheduler import Chunk, Scheduler
from engine.sequence import Sequence as Running

log = logging.getLogger(__name__)

Output = tuple[str, Delta]  # request id and what the request gained


class Grammars(Protocol):
    """Compiles constrained output, see `engine/sampling/grammar.py`."""

    def compile(self, spec: GrammarSpec, tried: bool = False) -> CompiledGrammar: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one engine takes, resolved from configuration and memory; see `EngineConfig`. `blocks` of `block_size`.
    `double_at` is the scheduler's."""

    max_model_len: int
    blocks: int
    block_size: int
    max_batch_tokens: int
    max_running: int
    max_waiting: int
    prefix_cache: bool
    double_at: int = 0


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot. The second group only ever grows; prefix counts are prompt tokens."""

    running: int
    waiting: int
    blocks_used: int
    blocks_total: int
    prompt_tokens: int
    generated_tokens: int
    preemptions: int
    prefix_queries: int
    prefix_hits: int
    steps: int


@dataclass(frozen=True, slots=True)
class Launched:
    """A chunk on its way: whether its next token is chosen, and its prompt's log-probabilities are noted."""

    chunk: Chunk
    samples: bool
    notes_prompt: bool


class Engine:
    """Continuous batching over one decoder, which the `runner` computes. State has one owner: whoever calls `add`,
    `abort` and `step`."""

    def __init__(
        self,
        runner: Runner[Work, Answer],
        limits: Limits,
        vocab_size: int,
        eos_token_ids: Sequence[int] = (),
        grammars: Grammars | None = None,
        clock: Callable[[], float] = time.time,
        kernels: str = "",
    ) -> None:
        self.kernels = kernels  # their name, for people
        self.runner = runner
        self.limits = limits
        self.vocab_size = vocab_size
        self.eos_token_ids = tuple(eos_token_ids)
        self.grammars = grammars
        self.clock = clock
        self.blocks = BlockManager(limits.blocks, limits.block_size, limits.prefix_cache)
        self.scheduler = Scheduler(
            self.blocks, limits.max_batch_tokens, limits.max_running, runner.depth, limits.double_at
        )
        self.requests: dict[str, Running] = {}
        self.blame = Blame()
        self.under_way: deque[list[Launched]] = deque()  # the steps that are not answered, oldest first
        self.orders = itertools.count()
        self.last_step_tokens = 0
        self.prompt_tokens = self.generated_tokens = self.prefix_queries = self.prefix_hits = self.steps = 0

    def prepare(self, request: Request) -> CompiledGrammar | None:
        """Checks a request and compiles its grammar. Touches no state: call it off the loop, compiling takes time.

        Raises InvalidRequest.
        """
        tokens = len(request.prompt) + len(request.generated)
        if not request.prompt:
            raise InvalidRequest("the prompt is empty", param="prompt")
        if tokens + (request.sampling.max_tokens > 0) > self.limits.max_model_len:
            raise InvalidRequest(
                f"the prompt has {tokens} tokens; the model takes {self.limits.max_model_len} with the answer",
                param="prompt",
            )
        for given in filter(None, (request.prompt, request.generated)):
            if not 0 <= min(given) <= max(given) < self.vocab_size:
                raise InvalidRequest(f"token ids go from 0 to {self.vocab_size - 1}", param="prompt")
        spec = request.sampling.grammar
        if spec is None:
            return None
        if self.grammars is None:
            raise InvalidRequest("this model has no tokenizer to constrain its output with", param="response_format")
        return self.grammars.compile(spec, tried=bool(request.generated))

    def add(self, request: Request, grammar: CompiledGrammar | None = None) -> None:
        """Queues a prepared request. Raises InvalidRequest for an id in use."""
        if request.id in self.requests:
            raise InvalidRequest(f"request id {request.id!r} is in use", param="request_id")
        row = Row(
            request.sampling,
            request.prompt,
            list(request.generated),
            self.eos_token_ids,
            None if grammar is None else grammar.state(request.sampling.stop_token_ids),
        )
        sequence = Running(request, next(self.orders), row, [*request.prompt, *request.generated])
        self.requests[request.id] = sequence
        self.scheduler.add(sequence)

    def abort(self, request_id: str) -> bool:
        """Takes a request out and frees its blocks; nothing more is reported of it. False if it is not here."""
        sequence = self.requests.pop(request_id, None)
        if sequence is not None:
            self.scheduler.remove(sequence)
        return sequence is not None

    @property
    def idle(self) -> bool:
        return not self.requests and not self.under_way and not self.runner.broken

    @property
    def patience_s(self) -> float:
        """None: whoever comes joins the next step, a few milliseconds later."""
        return 0.0

    def step(self) -> list[Output]:
        """Computes one batch; returns what each request gained. Raises ReplicaLost."""
        outputs = self._expire()
        self.last_step_tokens = 0
        try:
            if self.runner.broken:
                raise StageLost("a stage was lost")
            while len(self.under_way) < self.runner.depth and (chunks := self.scheduler.schedule()):
                self._launch(chunks)
            if self.under_way:
                outputs += self._collect()
        except StageLost as error:
            outputs += self._start_over(error)
        return outputs

    def close(self) -> None:
        """Ends what the runner has elsewhere."""
        self.runner.close()

    def stats(self) -> Stats:
        return Stats(
            running=len(self.scheduler.running),
            waiting=len(self.scheduler.waiting),
            blocks_used=self.blocks.used,
            blocks_total=self.blocks.total,
            prompt_tokens=self.prompt_tokens,
            generated_tokens=self.generated_tokens,
            preemptions=self.scheduler.preemptions,
            prefix_queries=self.prefix_queries,
            prefix_hits=self.prefix_hits,
            steps=self.steps,
        )

    def check(self) -> None:
        """Asserts the invariants of scheduler and blocks."""
        self.scheduler.check()
        assert len(self.requests) == len(self.scheduler.running) + len(self.scheduler.waiting)
        assert len(self.under_way) <= self.runner.depth

    def _expire(self) -> list[Output]:
        """Ends requests whose deadline passed; computing on would only keep others waiting."""
        now = self.clock()
        late = [s for s in self.requests.values() if s.request.deadline_s is not None and s.request.deadline_s <= now]
        return [
            self._fail(s, DeadlineExceeded("the request's deadline passed before its answer was complete"))
            for s in late
        ]

    def failed(self, error: StagelineError) -> Delta:
        """The last delta of a request that cannot be finished."""
        return Delta(finish_reason=FinishReason.ERROR, error=error)

    def _fail(self, sequence: Running, error: StagelineError) -> Output:
        self.abort(sequence.request.id)
        return sequence.request.id, self.failed(error)

    def _launch(self, chunks: list[Chunk]) -> None:
        """Submits one step's work."""
        now = self.clock()
        launched: list[Launched] = []
        spans: list[Span] = []
        rows: list[int] = []
        picks: list[Row] = []
        prompts: list[PromptAsk] = []
        end = 0
        for chunk in chunks:
            sequence = chunk.sequence
            sequence.started_s = sequence.started_s or now
            held = -(-(chunk.start + chunk.count) // self.limits.block_size)
            tokens = sequence.tokens[chunk.start : chunk.start + chunk.count]
            spans.append(Span(tokens, chunk.start, sequence.blocks[:held]))
            samples = chunk.last and not self._spent(sequence)
            notes_prompt = sequence.request.sampling.prompt_logprobs is not None and not sequence.reported
            if notes_prompt:
                prompts.append(self._prompt_ask(chunk, end))
            end += chunk.count
            if samples:
                rows.append(end - 1)
                picks.append(sequence.row)
            launched.append(Launched(chunk, samples, notes_prompt))
        batch = build_batch(spans, self.limits.block_size)
        self.runner.submit(Work(batch, tuple(rows), tuple(picks), tuple(prompts)))
        self.steps += 1
        self.under_way.append(launched)

    @staticmethod
    def _prompt_ask(chunk: Chunk, row: int) -> PromptAsk:
        """The log-probabilities of the prompt's tokens after each of the chunk's, which begins at the batch's `row`."""
        prompt, top = chunk.sequence.request.prompt, chunk.sequence.request.sampling.prompt_logprobs
        assert top is not None
        return PromptAsk(row, prompt[chunk.start + 1 : chunk.start + chunk.count + 1], top)

    def _collect(self) -> list[Output]:
        """Waits for the oldest step and takes in its answer."""
        try:
            answer = self.runner.answer()
        except (StageLost, ReplicaLost):
            raise
        except Exception as error:
            if not all(one.chunk.stale for one in self.under_way.popleft()):
                raise
            log.warning("a step that nobody waits for any more failed: %s", error)
            return []
        return self._postprocess(self.under_way.popleft(), answer)

    def _postprocess(self, launched: list[Launched], answer: Answer) -> list[Output]:
        self.last_step_tokens = sum(one.chunk.count for one in launched)
        sampled, prompts = iter(answer.sampled), iter(answer.prompts)
        outputs: list[Output] = []
        for one in launched:
            chunk, sequence = one.chunk, one.chunk.sequence
            token = next(sampled) if one.samples else None
            noted = next(prompts) if one.notes_prompt else None
            if chunk.stale:
                continue  # aborted, or preempted to be computed again
            if noted is not None:
                # What nothing predicts comes first; anew, if it was preempted.
                sequence.prompt_logprobs = [*(sequence.prompt_logprobs if chunk.start else [None]), *noted]
            self.scheduler.landed(chunk)
            if chunk.last:
                outputs.append(self._report(sequence, token))
        return outputs

    def _start_over(self, error: StageLost) -> list[Output]:
        """Nothing that was computed is left but the tokens: has the runner repaired, and everybody wait again."""
        log.warning("%s; %d requests are computed again once it is repaired", error, len(self.requests))
        chunks = [one.chunk for launched in self.under_way for one in launched]
        guilty = self.blame.lost(chunk.sequence.request.id for chunk in chunks if not chunk.stale)
        self.under_way.clear()
        self.scheduler.start_over()
        self.runner.repair()
        return [self._fail(self.requests[request_id], self.blame.error()) for request_id in guilty]

    def _spent(self, sequence: Running) -> bool:
        """Whether nothing more may be generated: only the prompt was asked for, or a resumed request was complete."""
        return sequence.generated >= sequence.request.sampling.max_tokens

    def _report(self, sequence: Running, sampled: Sampled | None) -> Output:
        """Appends the sampled token and says what the request gained; takes it out when it is finished."""
        now = self.clock()
        self.blame.gained(sequence.request.id)
        if not sequence.reported:
            sequence.first_token_s = now
            self.prompt_tokens += len(sequence.request.prompt)
            self.prefix_queries += len(sequence.request.prompt)
            self.prefix_hits += sequence.cached
        tokens: tuple[int, ...] = ()
        reason: FinishReason | None = FinishReason.LENGTH
        if sampled is not None:
            tokens = (sampled.token,)
            sequence.tokens.append(sampled.token)
            sequence.row.generated.append(sampled.token)
            self.generated_tokens += 1
            reason = self._finished(sequence, sampled.token)
        delta = Delta(
            tokens=tokens,
            finish_reason=reason,
            logprobs=() if sampled is None or sampled.logprobs is None else (sampled.logprobs,),
            prompt_logprobs=() if sequence.reported else tuple(sequence.prompt_logprobs),
            cached_tokens=sequence.cached,
            timings=None if reason is None and sequence.reported else self._timings(sequence, now),
        )
        sequence.reported = True
        if reason is not None:
            self.abort(sequence.request.id)
        return sequence.request.id, delta

    def _finished(self, sequence: Running, token: int) -> FinishReason | None:
        sampling, row = sequence.request.sampling, sequence.row
        if token in row.stop_token_ids:
            wanted = token in sampling.stop_token_ids or not sampling.ignore_eos
            # In constrained output a stop token is the end of the grammar, and nothing else can follow.
            if row.grammar is not None or (wanted and sequence.generated >= sampling.min_tokens):
                return FinishReason.STOP
        full = len(sequence.tokens) >= self.limits.max_model_len
        return FinishReason.LENGTH if full or self._spent(sequence) else None

    @staticmethod
    def _timings(sequence: Running, now: float) -> Timings:
        arrival = sequence.request.arrival_s or sequence.started_s
        return Timings(
            queue_s=max(0.0, sequence.started_s - arrival),
            prefill_s=sequence.first_token_s - sequence.started_s,
            decode_s=now - sequence.first_token_s,
        )
