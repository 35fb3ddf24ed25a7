"""Replicas that answer whole: a call brings some texts, perhaps of several callers, and waits for all their results."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from deployments.load import Load
from deployments.replica import Replica
from engine.errors import StagelineError
from engine.steps import Output, R, S, SteppedEngine


class Outcome(Output, Protocol):
    """A result, or the `error` that stands in its place."""

    @property
    def error(self) -> Exception | None: ...


Result = TypeVar("Result", bound=Outcome)


class Call(Generic[Result]):
    """The results of one call, as far as they have come. Lives on the asyncio thread."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.results: dict[str, Result | None] = dict.fromkeys(ids)
        self.missing = len(ids)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def put(self, request_id: str, result: Result) -> None:
        self.results[request_id] = result
        self.missing -= 1
        if not self.missing and not self.done.done():
            self.done.set_result(None)


class ComputeReplica(Replica[R, None, Result, S], Generic[R, Result, S]):
    """Loads the model when it is made. Raises CheckpointError and ConfigError."""

    def __init__(self, model: str, variant: str, threads: int, load: Callable[[], SteppedEngine[R, None, Result, S]]):
        self.open_calls: dict[str, Call[Result]] = {}  # by request id
        super().__init__(model, variant, threads, load)

    @abstractmethod
    def renamed(self, request: R, request_id: str) -> R:
        """The request under another id."""

    @abstractmethod
    def size(self, request: R) -> tuple[int, int]:
        """Tokens of a request, and those of its answer at most: 0 where it is not written token by token."""

    @abstractmethod
    def written(self, result: Result) -> int:
        """Tokens of an answer."""

    async def told(self, requests: Sequence[R]) -> AsyncIterator[tuple[tuple[Result, ...], Load | None]]:
        """The results of all, in order, as one item, now and then with this replica's load.

        What went wrong with one is in its own result. Closing the iterator aborts what is left. Raises ReplicaLost
        where the engine has stopped working.
        """
        trace = None if self.tracer is None else self.traced(min(getattr(one, "arrival_s", 0.0) for one in requests))
        with self._opened(requests) as call:
            try:
                if call.missing:
                    await call.done
            finally:
                if trace is not None:
                    trace.texts([result for result in call.results.values() if result is not None])
                    trace.end()
        yield tuple(result for result in call.results.values() if result is not None), self.load_due()

    @contextmanager
    def _opened(self, requests: Sequence[R]) -> Iterator[Call[Result]]:
        """A call whose requests the engine has, but for those that it refused. At the end nothing is left of it."""
        self.events = asyncio.get_running_loop()
        # Ids of its own for each call: a caller may send a request again before the first is gone.
        number = next(self.calls)
        mine = [self.renamed(request, f"{number}/{i}") for i, request in enumerate(requests)]
        call: Call[Result] = Call([request.id for request in mine])
        self.check_engine()
        for request, error in zip(mine, self._enqueue(mine), strict=True):
            if error is None:
                self.open_calls[request.id] = call
                self.meter.came(request.id, *self.size(request))
            else:
                call.put(request.id, self.loop.engine.failed(error))
        try:
            yield call
        finally:
            for request_id, result in call.results.items():
                if self.open_calls.pop(request_id, None) is not None and result is None:
                    self.loop.abort(request_id)
                self.meter.gone(request_id, finished=result is not None)

    def _enqueue(self, requests: Sequence[R]) -> list[StagelineError | None]:
        """For each None, or why it was not taken."""
        refused: list[StagelineError | None] = [None] * len(requests)
        for i, request in enumerate(requests):
            try:
                self.loop.prepare(request)
            except StagelineError as error:
                refused[i] = error
        good = [i for i, fault in enumerate(refused) if fault is None]
        for i, fault in zip(good, self.loop.enqueue_all([(requests[i], None) for i in good]), strict=True):
            refused[i] = fault
        return refused

    def deliver(self, outputs: list[tuple[str, Result]]) -> None:
        assert self.events is not None
        self.events.call_soon_threadsafe(self._dispatch, outputs)

    def _dispatch(self, outputs: list[tuple[str, Result]]) -> None:
        for request_id, result in outputs:
            call = self.open_calls.get(request_id)
            if call is not None:
                self.meter.wrote(request_id, self.written(result))
                self.meter.gone(request_id, finished=True)
                call.put(request_id, result)
