"""The engine on a thread of its own. Others talk to it by messages; it hands out everything through one callback."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic

from engine.errors import EngineFailed, InvalidRequest, Overloaded, ReplicaLost, StagelineError
from engine.spans import span
from engine.steps import O, P, R, S, SteppedEngine

log = logging.getLogger(__name__)

LOOK_S = 0.5  # between two looks at an idle engine
FIRST_STEP_S = 300.0  # what a first step may take longer than others: it may compile
FAILED_STEPS_IN_A_ROW = 3  # after so many the loop gives up and `healthy` turns false


@dataclass(frozen=True, slots=True)
class _Add(Generic[R, P]):
    request: R
    prepared: P


@dataclass(frozen=True, slots=True)
class _Abort:
    request_id: str


class EngineLoop(Generic[R, P, O, S]):
    """Makes an engine and runs it until `stop`, both on one thread, which owns it.

    (What torch itself runs in parallel keeps a pool of threads for each thread that asks. One asking thread, one pool.)

    `deliver` is called on the loop's thread, once a step, with what the requests gained; it must not block.
    `observe` is called after each step with its tokens and seconds, for metrics.
    """

    def __init__(
        self,
        make_engine: Callable[[], SteppedEngine[R, P, O, S]],
        deliver: Callable[[list[tuple[str, O]]], None],
        observe: Callable[[int, float], None] = lambda tokens, seconds: None,
    ) -> None:
        self.deliver = deliver
        self.observe = observe
        self._inbox: deque[_Add[R, P] | _Abort] = deque()
        self._wake = threading.Condition()
        self._open: set[str] = set()  # ids submitted and not yet finished; guarded by _wake
        self._stopping = self._ended = False
        self._failures = 0
        self._stepped = False
        self._step_began: float | None = None
        self._made: Future[SteppedEngine[R, P, O, S]] = Future()
        self._thread = threading.Thread(target=self._run, args=(make_engine,), name="engine-loop", daemon=True)

    def start(self, timeout_s: float | None = None) -> None:
        """Starts the thread and waits until the engine is made. Raises what `make_engine` raises, and TimeoutError."""
        self._thread.start()
        self.engine = self._made.result(timeout_s)
        self._stats = self.engine.stats()

    @property
    def healthy(self) -> bool:
        """Whether the thread runs and its steps succeed."""
        return self._thread.is_alive() and not self._ended and self._failures < FAILED_STEPS_IN_A_ROW

    def busy_s(self) -> float:
        """For how long the present step has lasted, a first one less what it may take longer; 0 between steps. From any
        thread."""
        began = self._step_began
        if began is None:
            return 0.0
        return max(0.0, time.perf_counter() - began - (0.0 if self._stepped else FIRST_STEP_S))

    @property
    def open_requests(self) -> int:
        return len(self._open)

    def stats(self) -> S:
        """As of the last step; safe from any thread."""
        return self._stats

    def submit(self, request: R) -> None:
        """Queues a request from any thread; prepares it on the caller's.

        Raises InvalidRequest, for an id in use too; Overloaded at once when the queue is full; ReplicaLost when the
        engine is being stopped, or has ended.
        """
        self.enqueue(request, self.prepare(request))

    def prepare(self, request: R) -> P:
        """The half of `submit` that may take time. Raises as `submit`."""
        with self._wake:
            self._check_room(request.id)
        return self.engine.prepare(request)

    def enqueue(self, request: R, prepared: P) -> None:
        """The half of `submit` that does not, with what `prepare` returned. Raises as `submit`."""
        (refused,) = self.enqueue_all([(request, prepared)])
        if refused is not None:
            raise refused

    def enqueue_all(self, work: Sequence[tuple[R, P]]) -> list[StagelineError | None]:
        """Several at once, so that the next step finds them together: for each None, or why it was not taken."""
        refused: list[StagelineError | None] = []
        with self._wake:
            for request, prepared in work:
                try:
                    self._check_room(request.id)
                except StagelineError as error:
                    refused.append(error)
                    continue
                self._open.add(request.id)
                self._inbox.append(_Add(request, prepared))
                refused.append(None)
            self._wake.notify()
        return refused

    def abort(self, request_id: str) -> None:
        """Takes a request out before the next step; nothing more is delivered of it after that."""
        with self._wake:
            self._inbox.append(_Abort(request_id))
            self._wake.notify()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ends the thread; requests still here end with ReplicaLost."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        self._thread.join(timeout_s)

    def _run(self, make_engine: Callable[[], SteppedEngine[R, P, O, S]]) -> None:
        try:
            self.engine = make_engine()
        except BaseException as error:
            self._made.set_exception(error)
            return
        self._made.set_result(self.engine)
        try:
            while self._failures < FAILED_STEPS_IN_A_ROW and self._take_messages():
                if not self._more_came():
                    self._step()
        except ReplicaLost as error:
            log.error("%s", error)
        except Exception:
            log.exception("the engine's loop failed")
        self._end()
        self.engine.close()

    def _check_room(self, request_id: str) -> None:
        if self._stopping:
            raise ReplicaLost("this replica is shutting down")
        if not self.healthy:
            raise ReplicaLost("the engine has stopped working; its replica is about to be replaced")
        if request_id in self._open:
            raise InvalidRequest(f"request id {request_id!r} is in use", param="request_id")
        if len(self._open) >= self.engine.limits.max_running + self.engine.limits.max_waiting:
            raise Overloaded(f"{len(self._open)} requests are running and waiting already; try again later")

    def _take_messages(self) -> bool:
        """Waits for work and takes in what was sent. False when it is time to end."""
        with self._wake:
            # A stage can be lost while nobody asks for anything: nothing wakes us for that.
            while not self._wake.wait_for(lambda: self._inbox or self._stopping or not self.engine.idle, LOOK_S):
                pass
            messages, self._inbox = self._inbox, deque()
        refused: list[tuple[str, O]] = []
        for message in messages:
            if isinstance(message, _Abort):
                if self.engine.abort(message.request_id):
                    self._close([message.request_id])
                continue
            try:
                self.engine.add(message.request, message.prepared)
            except StagelineError as error:
                refused.append((message.request.id, self.engine.failed(error)))
            except Exception as error:
                log.exception("a request could not be taken in")
                refused.append((message.request.id, self.engine.failed(internal(error))))
        self._hand_out(refused)
        return not self._stopping

    def _more_came(self) -> bool:
        """Gives those who were just answered the time to ask again, where the engine says that it pays."""
        patience_s = self.engine.patience_s
        if patience_s <= 0:
            return False
        with self._wake:
            return bool(self._wake.wait_for(lambda: self._inbox or self._stopping, patience_s))

    def _step(self) -> None:
        started = self._step_began = time.perf_counter()
        try:
            with span("engine step"):
                outputs = self.engine.step()
            if self.engine.last_step_tokens:  # nothing is proven where nothing was computed
                self._failures = 0
        except ReplicaLost:
            raise
        except Exception as error:
            log.exception("an engine step failed; its requests end with an error")
            self._failures += 1
            outputs = self._fail_all(error)
        self._step_began, self._stepped = None, True
        self.observe(self.engine.last_step_tokens, time.perf_counter() - started)
        self._hand_out(outputs)

    def _fail_all(self, error: Exception) -> list[tuple[str, O]]:
        """Ends all that the engine was given, also what the failed step took out of it and could not report."""
        for request_id in list(self.engine.requests):
            self.engine.abort(request_id)
        with self._wake:
            waiting = {message.request.id for message in self._inbox if isinstance(message, _Add)}
            return [(request_id, self.engine.failed(internal(error))) for request_id in sorted(self._open - waiting)]

    def _end(self) -> None:
        """Tells whoever is still here; `submit` takes no more."""
        self._step_began = None  # what was thrown out of has ended, too
        with self._wake:
            self._ended = True
            self._inbox.clear()
            left = sorted(self._open)
        if self._failures >= FAILED_STEPS_IN_A_ROW:
            log.error("%d engine steps failed in a row; giving up", self._failures)
        why = "the replica was shut down" if self._stopping else "the engine has stopped working"
        try:
            self._hand_out([(request_id, self.engine.failed(ReplicaLost(why))) for request_id in left])
        except Exception:
            log.exception("%d requests could not be told that the engine has ended", len(left))

    def _hand_out(self, outputs: list[tuple[str, O]]) -> None:
        self._stats = self.engine.stats()
        if outputs:
            self._close([request_id for request_id, output in outputs if output.finished])
            with span("hand out"):
                self.deliver(outputs)

    def _close(self, ids: Iterable[str]) -> None:
        with self._wake:
            self._open.difference_update(ids)


def internal(error: Exception) -> EngineFailed:
    """What its request is told of an error that it did not cause, whatever its kind."""
    if isinstance(error, EngineFailed):
        return error
    return EngineFailed(f"the engine failed while computing this request ({type(error).__name__})")
