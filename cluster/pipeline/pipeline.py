"""A pipeline of stages: drives it, and makes it whole again after a loss."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ray.util.placement_group import PlacementGroup

from cluster.pipeline.actors import in_short
from cluster.pipeline.clock import Traced
from cluster.pipeline.crew import Crew, NotYet
from cluster.pipeline.frames import FrameError
from cluster.pipeline.handshake import Membership, Place
from cluster.pipeline.limits import Limits
from cluster.pipeline.link import Address, LinkLost, Listener, Receiver, Sender
from cluster.pipeline.placement import Resources, Strategy
from cluster.pipeline.profile import StageProfile, prepare_stages, profile_stages
from cluster.pipeline.stage import FAILED, PROBE, MakeStage
from cluster.pipeline.state import Meanwhile, StageState
from cluster.pipeline.watch import Watch
from engine.errors import EngineFailed, ReplicaLost, StageLost
from engine.pipeline.message import Message
from engine.spans import span

log = logging.getLogger(__name__)

End = TypeVar("End", Listener, Sender, Receiver)

_AGAIN_S = 0.05  # between two tries of a repair


class Pipeline:
    """A Runner of messages: what the last stage makes of a message is its answer.

    One thread submits, takes answers and repairs. All else may be called from any; `close` also ends a wait there.
    """

    def __init__(
        self,
        makes: Sequence[MakeStage],
        *,
        labels: Sequence[str] | None = None,
        threads: int = 1,
        resources: Resources | None = None,
        placement_group: PlacementGroup | None = None,
        first_bundle: int | None = None,
        strategy: Strategy = "pack",
        spares: bool = True,
        limits: Limits | None = None,
        supply: Callable[[], object] | None = None,
    ) -> None:
        """Starts and links a stage for each of `makes`, all at the same time, each computing with so many threads.

        They lie in a placement group: the given one or the one that this process is in, from `first_bundle` on (default
        1, as the driver has the first); where there is none, in one of their own, made by `strategy`.
        `spares`: on each node a process waits that has imported everything (some 200 MB), so that a stage is replaced
        in the time that its layers take to load; stages with GPUs have none.
        `supply` is called in each stage's process before all else and may take long: it brings to the stage's node what
        it is loaded from, if it is not there. (Where a stage moves to another node later, its `make` has to see to it.)

        Raises what `makes` and `supply` raise, ConfigError where the cluster has no room, EngineFailed.
        """
        self.limits = limits or Limits()
        self._membership = Membership.new()
        self._epoch = 0
        self._repairs = 0  # since the last answer
        self._lost: str | None = "it is not linked yet"
        self._closed = False
        self._lock = threading.Lock()  # of the links and of what is lost
        self._sender: Sender | None = None
        self._receiver: Receiver | None = None
        self._ends: list[Listener | Sender | Receiver] = []  # of this process, in this epoch
        self._under_way = 0
        self._active_s, self._active_since = 0.0, 0.0
        names = labels or [f"stage {index}" for index in range(len(makes))]
        self._crew = Crew(makes, names, threads, resources or Resources(), self.limits, spares=spares)
        self._watch = Watch(self.limits, self._lose_epoch, self._look, self._active)
        try:
            self._crew.settle(placement_group, first_bundle, strategy)
            if supply is not None:
                self._crew.supply(supply)
            self._make_whole(self.limits.start_s, [])
        except BaseException:
            self.close()
            raise

    @property
    def depth(self) -> int:
        """As many messages as there are stages are to be under way at once."""
        return len(self._crew.seats)

    @property
    def lost(self) -> str | None:
        """Why a repair is due, or None."""
        return self._lost

    @property
    def broken(self) -> bool:
        """Whether a repair is due."""
        return self._lost is not None and not self._closed

    def submit(self, message: Message) -> None:
        """Sends a message to the first stage. Raises StageLost, and EngineFailed for what cannot be sent."""
        sender = self._sender
        if self._lost is not None or sender is None:
            raise StageLost(f"The pipeline is not whole: {self._lost}.")
        try:
            with span(f"send {message.kind}"):
                sender.send(sender.pack(message))
        except FrameError as error:
            raise EngineFailed(f"A batch cannot be sent to the stages: {error}.") from error
        except LinkLost as error:
            raise self._stage_lost(str(error)) from None
        if self._under_way == 0:
            self._active_since = time.monotonic()
        self._under_way += 1

    def answer(self) -> Message:
        """Waits for the answer to the oldest message that has none. Raises StageLost, and EngineFailed for a message
        that a stage could not compute; the pipeline goes on after that."""
        receiver = self._receiver
        if self._lost is not None or receiver is None:
            raise StageLost(f"The pipeline is not whole: {self._lost}.")
        assert self._under_way > 0, "nothing was submitted that has no answer"
        try:
            # Whatever goes wrong is noticed earlier, by links and beats. This is for what nobody thought of.
            with span(f"wait for batch {receiver.number}"):
                message = receiver.receive(self.limits.step_s * (self.depth + 1))
        except LinkLost as error:
            raise self._stage_lost(str(error)) from None
        self._under_way -= 1
        self._repairs = 0
        if self._under_way == 0:
            self._active_s += time.monotonic() - self._active_since
        if message.kind == FAILED:
            stage, kind = message.meta.get("stage"), message.meta.get("error")
            raise EngineFailed(f"Stage {stage} could not compute a batch: {kind}. The log of that stage says more.")
        return message

    def repair(self) -> None:
        """Makes the pipeline whole: ends the epoch, replaces the stages that died or froze, links them all anew.

        Stages that live keep their process and weights. Raises ReplicaLost where the limit does not suffice, where
        anything else goes wrong, and where the last repairs brought no answer: a batch may be what kills a stage.
        """
        began = time.monotonic()
        self._lose("it is being repaired")
        if self._under_way:
            self._active_s += time.monotonic() - self._active_since
            self._under_way = 0
        reason = self._lost
        silences = self._watch.rest()
        if self._repairs >= self.limits.repairs:
            raise ReplicaLost(f"The pipeline was repaired {self._repairs} times without an answer, then: {reason}")
        self._repairs += 1
        try:
            replaced = self._make_whole(self.limits.repair_s, silences)
        except ReplicaLost:
            raise
        except Exception as error:  # of Ray too: the requests are computed elsewhere
            log.exception("a repair failed")
            raise ReplicaLost(f"The pipeline could not be repaired: {error}") from error
        log.warning("repaired in %.2f s, replacing stages %s: %s", time.monotonic() - began, replaced, reason)

    def stages(self) -> list[StageState]:
        """What each stage is and does at present."""
        return [self._status(index) for index in range(self.depth)]

    def meanwhile(self, start: float, end: float) -> list[Meanwhile]:
        """What each stage did in a time by `time.monotonic`, of the last 20 minutes and since the last repair, to half
        a second; empty where nothing is known. It is the work of all who were served in that time."""
        found = self._watch.between(start, end)
        return [
            Meanwhile(index, seat.label, shares)
            for index, (seat, shares) in enumerate(zip(self._crew.seats, found, strict=False))
        ]

    def trace(self, *, on: bool) -> None:
        """Has the stages remember the times of each batch from now on, or no longer."""
        self._crew.ask("trace", on)

    def take_trace(self) -> list[list[Traced]]:
        """What each stage remembered since the last call."""
        return self._crew.ask("take_trace")

    def prepare_profile(self) -> list[StageProfile]:
        """Gets all stages ready for `profile`; from any thread. Tells of those that cannot be asked."""
        return prepare_stages(self._crew)

    def profile(self, seconds: float) -> list[StageProfile]:
        """What all stages do in that time, by torch's profiler, while they do it; from any thread."""
        return profile_stages(self._crew, seconds)

    def stacks(self, timeout_s: float) -> list[str]:
        """Where all threads of each stage are, or why it does not say; from any thread."""
        return [
            one if isinstance(one, str) else f"It does not answer: {in_short(one)}"
            for one in self._crew.ask_each("stacks", timeout_s=timeout_s)
        ]

    def close(self) -> None:
        """Ends the stages and what else was started for them."""
        with self._lock:
            self._closed = True
        self._lose("it was closed")
        self._watch.close()
        self._crew.close()

    def _make_whole(self, limit_s: float, silences: list[tuple[float, bool]]) -> list[int]:
        """Returns which stages were started. Raises what loading them raises, and ReplicaLost."""
        began = time.monotonic()
        replaced: set[int] = set()
        while not self._closed:
            try:
                self._assemble(began + limit_s, silences, replaced)
                return sorted(replaced)
            except (NotYet, LinkLost) as error:
                unreachable = isinstance(error, NotYet) and error.unreachable
                limit = min(limit_s, self.limits.unreachable_s) if unreachable else limit_s
                if time.monotonic() - began >= limit:
                    raise ReplicaLost(f"The pipeline is not whole after {limit:.0f} s: {error}") from None
                log.info("not whole yet: %s", error)
                silences = []
                time.sleep(_AGAIN_S)
        raise ReplicaLost("The pipeline was closed.")

    def _assemble(self, deadline: float, silences: list[tuple[float, bool]], replaced: set[int]) -> None:
        """One try: raises NotYet and LinkLost."""
        with self._lock:
            self._epoch += 1
        places = [Place(self._membership, self._epoch, link) for link in range(self.depth + 1)]
        addresses, started = self._crew.gather(places, silences, deadline)
        replaced |= started
        try:
            serving = self._link(addresses, places, deadline)
        except BaseException:
            self._close_ends()
            raise
        self._watch.follow(self._epoch, [seat.actor for seat in self._crew.seats], serving)
        self._crew.keep_spares()

    def _link(self, addresses: list[Address], places: list[Place], deadline: float) -> list[Any]:
        """Links the ring, and returns the stages' calls of `serve`."""
        try:
            listener = self._held(Listener(self._crew.host, places[-1], self.limits.link))
        except OSError as error:
            raise EngineFailed(f"The pipeline's driver cannot listen at {self._crew.host}: {error}.") from error
        serving = self._crew.serve([*addresses[1:], listener.address], places)
        # The stages link themselves at the same time: connect first, then wait, then see to the reply.
        sender = self._held(Sender(addresses[0], places[0], self.limits.link))
        receiver = self._held(listener.accept())
        sender.confirm()
        listener.close()
        # A stage replies before its own link onward is made: only what comes back shows that all of them are.
        sender.send(sender.pack(Message(PROBE, {}, ())))
        receiver.receive(deadline - time.monotonic())
        with self._lock:
            if self._closed:
                raise LinkLost("it was closed")
            self._sender, self._receiver, self._lost = sender, receiver, None
        return serving

    def _held(self, end: End) -> End:
        """Has `_close_ends` close it, from any thread."""
        with self._lock:
            self._ends.append(end)
            closed = self._closed
        if closed:
            end.close()
            raise LinkLost("it was closed")
        return end

    def _close_ends(self) -> None:
        with self._lock:
            ends, self._ends = self._ends, []
        for end in ends:
            end.close()

    def _lose(self, reason: str) -> None:
        """From any thread: whoever waits is told."""
        with self._lock:
            self._lost = self._lost or reason
        self._close_ends()

    def _lose_epoch(self, epoch: int, reason: str) -> None:
        """What the watch found may be over by now."""
        with self._lock:
            if epoch != self._epoch:
                return
            self._lost = self._lost or reason
        self._close_ends()

    def _look(self) -> str | None:
        """While nothing is under way nobody receives, and signs of life pile up. (Nor is silence noticed then. It need
        not be: beats are missing too, or the stage before notices.)"""
        receiver = self._receiver
        try:
            if receiver is not None:
                receiver.drain()
        except LinkLost as error:
            return str(error)
        return None

    def _stage_lost(self, reason: str) -> StageLost:
        self._lose(reason)
        return StageLost(f"A stage was lost: {self._lost}.")

    def _active(self) -> float:
        under_way, since = self._under_way, self._active_since
        return self._active_s + (time.monotonic() - since if under_way else 0.0)

    def _status(self, index: int) -> StageState:
        seat = self._crew.seats[index]
        beat, shares = self._watch.last(index)
        loaded, born = seat.loaded, seat.born
        return StageState(
            index=index,
            layers=seat.label,
            node=self._crew.address(index),
            pid=0 if born is None else born.pid,
            state="starting" if loaded is None else "ready" if self._lost is None else "lost",
            memory_bytes=beat.rss_bytes if beat else loaded.rss_bytes if loaded else 0,
            peak_memory_bytes=loaded.peak_rss_bytes if loaded else 0,
            weight_bytes=loaded.weight_bytes if loaded else 0,
            cache_bytes=loaded.cache_bytes if loaded else 0,
            load_s=loaded.load_s if loaded else 0.0,
            batches=beat.batches if beat else 0,
            restarts=max(0, seat.starts - 1),
            shares=shares,
        )
