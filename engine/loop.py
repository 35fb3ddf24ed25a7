"""The engine on a thread of its own. Others talk to it by messages; it hands out everything through one callback."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from engine.engine import Engine, Output, Stats
from engine.errors import EngineFailed, Overloaded, StagelineError
from engine.request import Delta, FinishReason, Request
from engine.sampling.grammar_state import CompiledGrammar

log = logging.getLogger(__name__)

Deliver = Callable[[list[Output]], None]

FAILED_STEPS_IN_A_ROW = 3  # after so many the loop gives up and `healthy` turns false


@dataclass(frozen=True, slots=True)
class _Add:
    request: Request
    grammar: CompiledGrammar | None


@dataclass(frozen=True, slots=True)
class _Abort:
    request_id: str


class EngineLoop:
    """Makes an engine and runs it until `stop`, both on one thread, which owns it.

    (What torch itself runs in parallel keeps a pool of threads for each thread that asks. One asking thread, one pool.)

    `deliver` is called on the loop's thread, once a step, with what the requests gained; it must not block.
    `observe` is called after each step with its tokens and seconds, for metrics.
    """

    def __init__(
        self,
        make_engine: Callable[[], Engine],
        deliver: Deliver,
        observe: Callable[[int, float], None] = lambda tokens, seconds: None,
    ) -> None:
        self.deliver = deliver
        self.observe = observe
        self._inbox: deque[_Add | _Abort] = deque()
        self._wake = threading.Condition()
        self._open = 0  # requests submitted and not yet finished; guarded by _wake
        self._stopping = False
        self._failures = 0
        self._made: Future[Engine] = Future()
        self._thread = threading.Thread(target=self._run, args=(make_engine,), name="engine-loop", daemon=True)

    def start(self, timeout_s: float | None = None) -> None:
        """Starts the thread and waits until the engine is made. Raises what `make_engine` raises, and TimeoutError."""
        self._thread.start()
        self.engine = self._made.result(timeout_s)
        self._stats = self.engine.stats()

    @property
    def healthy(self) -> bool:
        """Whether the thread runs and its steps succeed."""
        return self._thread.is_alive() and self._failures < FAILED_STEPS_IN_A_ROW

    @property
    def open_requests(self) -> int:
        return self._open

    def stats(self) -> Stats:
        """As of the last step; safe from any thread."""
        return self._stats

    def submit(self, request: Request) -> None:
        """Queues a request from any thread; compiles its grammar on the caller's.

        Raises InvalidRequest; Overloaded at once when the queue is full or the engine is being stopped; EngineFailed.
        """
        grammar = self.engine.prepare(request)
        limits = self.engine.limits
        with self._wake:
            if self._stopping:
                raise Overloaded("this replica is shutting down", retry_after_s=1.0)
            if not self.healthy:
                raise EngineFailed("the engine has stopped working; its replica is about to be replaced")
            if self._open >= limits.max_running + limits.max_waiting:
                raise Overloaded(f"{self._open} requests are running and waiting already; try again later")
            self._open += 1
            self._inbox.append(_Add(request, grammar))
            self._wake.notify()

    def abort(self, request_id: str) -> None:
        """Takes a request out before the next step; nothing more is delivered of it after that."""
        with self._wake:
            self._inbox.append(_Abort(request_id))
            self._wake.notify()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ends the thread; requests still here end with an error."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        self._thread.join(timeout_s)

    def _run(self, make_engine: Callable[[], Engine]) -> None:
        try:
            self.engine = make_engine()
        except BaseException as error:
            self._made.set_exception(error)
            return
        self._made.set_result(self.engine)
        while self._take_messages():
            started = time.perf_counter()
            try:
                outputs = self.engine.step()
                self._failures = 0
            except Exception as error:
                log.exception("an engine step failed; its requests end with an error")
                self._failures += 1
                outputs = self._fail_all(error)
            self.observe(self.engine.last_step_tokens, time.perf_counter() - started)
            self._hand_out(outputs)
            if self._failures >= FAILED_STEPS_IN_A_ROW:
                log.error("%d engine steps failed in a row; giving up", self._failures)
                break
        self._hand_out(self._fail_all(EngineFailed("the replica was shut down")))

    def _take_messages(self) -> bool:
        """Waits for work and takes in what was sent. False when it is time to end."""
        with self._wake:
            self._wake.wait_for(lambda: self._inbox or self._stopping or not self.engine.idle)
            messages, self._inbox = self._inbox, deque()
        refused: list[Output] = []
        for message in messages:
            if isinstance(message, _Abort):
                if self.engine.abort(message.request_id):
                    self._close(1)
                continue
            try:
                self.engine.add(message.request, message.grammar)
            except StagelineError as error:
                refused.append((message.request.id, Delta(finish_reason=FinishReason.ERROR, error=error)))
        self._hand_out(refused)
        return not self._stopping

    def _fail_all(self, error: Exception) -> list[Output]:
        if not isinstance(error, EngineFailed):
            error = EngineFailed(f"the engine failed while computing this request ({type(error).__name__})")
        ids = list(self.engine.requests)
        for request_id in ids:
            self.engine.abort(request_id)
        return [(request_id, Delta(finish_reason=FinishReason.ERROR, error=error)) for request_id in ids]

    def _hand_out(self, outputs: list[Output]) -> None:
        self._stats = self.engine.stats()
        if outputs:
            self._close(sum(delta.finish_reason is not None for _, delta in outputs))
            self.deliver(outputs)

    def _close(self, count: int) -> None:
        if count:
            with self._wake:
                self._open -= count
                self._wake.notify_all()
