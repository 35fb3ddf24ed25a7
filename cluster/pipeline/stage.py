"""The process of one stage: receives, computes, sends. A plain class; `cluster/pipeline/actors.py` makes actors of it.

Torch keeps a pool of threads for each thread that asks, so that all of its work happens on one thread, which loads the
stage and then serves it. Everything else is answered beside it, at once.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
import torch

from cluster.pipeline.clock import Beat, Phase, StageClock, Traced
from cluster.pipeline.handshake import Place
from cluster.pipeline.link import Address, LinkLimits, LinkLost, Listener, Receiver, Sender
from cluster.watch_limits import limits_here
from cluster.watching import watch
from engine import profiling, stacks
from engine.pipeline.message import Message, Stage
from engine.profiling import Part
from engine.spans import span
from engine.watchdog import Suspect

log = logging.getLogger(__name__)

FAILED = "failed"
"""The kind of message that takes the place of an answer; `meta` says at which `stage`, and the `error`'s type."""

PROBE = "probe"
"""The kind of message that every stage passes on as it is: what comes back shows that the ring is whole."""

MakeStage = Callable[[], Stage]


@dataclass(frozen=True, slots=True)
class Born:
    """Which process it is. `created` is in seconds since 1970, `node` is Ray's id."""

    pid: int
    created: float
    node: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a stage holds, in bytes. The peak is the process's until now."""

    weight_bytes: int
    cache_bytes: int
    rss_bytes: int
    peak_rss_bytes: int
    load_s: float


class StageWorker:
    """One stage of a pipeline, from `load` on. Each epoch, all stages first `listen`, then `serve`."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stage")
        self._lock = threading.Lock()  # of the following five
        self._epoch = 0
        self._over: Future[None] = Future()  # done when the epoch is over
        self._listener: Listener | None = None
        self._receiver: Receiver | None = None
        self._sender: Sender | None = None
        self._clock = StageClock()
        self._stage: Stage | None = None
        self._index = -1

    def born(self) -> Born:
        """Which process this is."""
        process = psutil.Process()
        return Born(process.pid, process.create_time(), ray.get_runtime_context().get_node_id())

    def warm(self, make: MakeStage) -> None:
        """Gets ready to load: what `make` is made of has been imported by now. It is not called."""

    def supply(self, have: Callable[[], object]) -> None:
        """Brings what the stage will be loaded from to this node. Raises what `have` raises."""
        have()

    def load(self, make: MakeStage, index: int, threads: int) -> Loaded:
        """Loads the stage, which computes with so many threads. Raises what `make` raises."""
        return self._thread.submit(self._load, make, index, threads).result()

    def listen(self, place: Place, host: str, limits: LinkLimits) -> Address:
        """Ends the epoch before, at once (a batch that is being computed comes to nothing), and begins the next: says
        where this stage waits for the one before it."""
        listener = Listener(host, place, limits)
        with self._lock:
            if place.epoch <= self._epoch:
                listener.close()
                raise ValueError(f"epoch {place.epoch} comes after epoch {self._epoch}")
            before, over = (self._listener, self._receiver, self._sender), self._over
            self._epoch, self._listener, self._receiver, self._sender = place.epoch, listener, None, None
            self._over = Future()
        over.set_result(None)
        _close(*before)
        return listener.address

    def serve(self, to: Address, place: Place, limits: LinkLimits) -> str:
        """Computes what comes in, in order, until a link is lost or the next epoch begins. Returns why."""
        with self._lock:
            over = self._over
            if place.epoch != self._epoch:
                return f"epoch {place.epoch} is over"
        serving = self._thread.submit(self._serve, to, place, limits)
        # The thread may be at a long batch, of this epoch or the one before. The call must not outlive the epoch: a
        # process answers only so many at once.
        either: list[Future[Any]] = [serving, over]
        wait(either, return_when=FIRST_COMPLETED)
        if serving.done():
            return serving.result()
        serving.cancel()
        return f"epoch {place.epoch} is over"

    def free(self, timeout_s: float) -> bool:
        """Waits until the computing thread is done with what it was given. False where it is not, in that time."""
        return not wait([self._thread.submit(int)], timeout=timeout_s).not_done

    def beat(self) -> Beat:
        """A sign of life, with what became of its time."""
        return self._clock.beat(self._epoch, psutil.Process().memory_info().rss)

    def trace(self, on: bool) -> None:
        """Remembers the times of each batch from now on, or no longer."""
        self._clock.tracing = on

    def take_trace(self) -> list[Traced]:
        """What was remembered since the last call."""
        return self._clock.take_trace()

    def now(self) -> float:
        """This node's clock, in seconds since 1970."""
        return time.time()

    def prepare_profile(self) -> None:
        """See `engine/profiling.py`. Raises Busy."""
        profiling.prepare()

    def profile(self, seconds: float) -> Part:
        """What this process does in that time. Raises Busy, and EngineFailed for what is too large."""
        return profiling.take(seconds)

    def stacks(self) -> str:
        """Where all threads of this process are."""
        return stacks.stacks()

    def _load(self, make: MakeStage, index: int, threads: int) -> Loaded:
        began = time.perf_counter()
        torch.set_num_threads(threads)
        self._index = index
        self._stage = make()
        watch(f"stage {index}", [Suspect("a batch", self._clock.busy_s, limits_here().step_s)])
        return Loaded(
            self._stage.weight_bytes,
            self._stage.cache_bytes,
            psutil.Process().memory_info().rss,
            peak_rss_bytes(),
            time.perf_counter() - began,
        )

    def _serve(self, to: Address, place: Place, limits: LinkLimits) -> str:
        sender = receiver = None
        try:
            # All stages do this at the same time: nobody waits for a reply before he has given his own.
            sender = Sender(to, place, limits)
            receiver = self._link(sender, place.epoch)
            sender.confirm()
            while True:
                self._step(receiver, sender)
        except LinkLost as error:
            log.info("stage %d, epoch %d: %s", self._index, place.epoch, error)
            return str(error)
        finally:
            self._clock.enter(Phase.IDLE)
            _close(sender, receiver)

    def _link(self, sender: Sender, epoch: int) -> Receiver:
        """Waits for the stage before; both links are now closed with the epoch."""
        with self._lock:
            listener = self._listener
            if epoch != self._epoch or listener is None:
                raise LinkLost(f"epoch {epoch} is over")
            self._sender = sender
        try:
            receiver = listener.accept()
        finally:
            listener.close()
        with self._lock:
            if epoch == self._epoch:
                self._receiver = receiver
                return receiver
        receiver.close()
        raise LinkLost(f"epoch {epoch} is over")

    def _step(self, receiver: Receiver, sender: Sender) -> None:
        number = receiver.number
        self._clock.enter(Phase.WAITING, number)
        with span("wait"):
            message = receiver.receive()
        if message.kind == PROBE:
            sender.send(sender.pack(message))
            return
        received, traced = time.time(), self._clock.tracing
        rows = message.tensors[0].shape[0] if message.tensors and message.tensors[0].dim() else 0
        self._clock.enter(Phase.BUSY, number)
        with span(f"batch {number}: {message.kind}, {rows} rows"):
            frame = self._computed(message, sender)
        computed = time.time()
        self._clock.enter(Phase.SENDING, number)
        with span("send"):
            sender.send(frame)
        self._clock.enter(Phase.WAITING, number + 1, batches=1)
        if traced:  # asked when it came: its answer may be known before this line
            self._clock.trace(Traced(number, message.kind, rows, received, received, computed, time.time()))

    def _computed(self, message: Message, sender: Sender) -> list[bytes | memoryview]:
        """What the next one is sent. Where a batch cannot be computed, the others go on: it says so in its place."""
        if message.kind == FAILED:
            return sender.pack(message)
        assert self._stage is not None
        try:
            return sender.pack(self._stage.run(message))
        except Exception as error:
            # What it says stays in this process's log: it may quote one caller's words, and all callers are answered.
            log.exception("stage %d could not compute a %s", self._index, message.kind)
            return sender.pack(Message(FAILED, {"stage": self._index, "error": type(error).__name__}, ()))


def peak_rss_bytes() -> int:
    """The most memory that this process ever had. (`getrusage` also counts the process that it was forked from.)"""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return int(psutil.Process(os.getpid()).memory_info().rss)


def _close(*ends: Listener | Receiver | Sender | None) -> None:
    for end in ends:
        if end is not None:
            end.close()
