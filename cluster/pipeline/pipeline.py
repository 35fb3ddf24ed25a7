"""A pipeline of stages: drives it, and makes it whole again after a loss."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack

from ray.util.placement_group import PlacementGroup

from cluster.pipeline.clock import Traced
from cluster.pipeline.crew import Crew, NotYet
from cluster.pipeline.frames import FrameError
from cluster.pipeline.handshake import Membership, Place
from cluster.pipeline.limits import Limits
from cluster.pipeline.link import LinkLost, Listener, Receiver, Sender
from cluster.pipeline.placement import Resources, Strategy
from cluster.pipeline.stage import FAILED, MakeStage
from cluster.pipeline.state import StageState
from cluster.pipeline.watch import Watch
from engine.errors import EngineFailed, ReplicaLost, StagelineError, StageLost
from engine.pipeline.message import Message

log = logging.getLogger(__name__)

_AGAIN_S = 0.05  # between two tries of a repair


class Pipeline:
    """A Runner of messages: what the last stage makes of a message is its answer.

    One thread submits, takes answers and repairs. All else may be called from any.
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
    ) -> None:
        """Starts and links a stage for each of `makes`, all at the same time, each computing with so many threads.

        They lie in a placement group: the given one or the one that this process is in, from `first_bundle` on (default
        1, as the driver has the first); where there is none, in one of their own, made by `strategy`.
        `spares`: on each node a process waits that has imported everything (some 200 MB), so that a stage is replaced
        in the time that its layers take to load; stages with GPUs have none.

        Raises what `makes` raise, ConfigError where the cluster has no room, EngineFailed.
        """
        self.limits = limits or Limits()
        self._membership = Membership.new()
        self._epoch = 0
        self._lost: str | None = "it is not linked yet"
        self._closed = False
        self._lock = threading.Lock()  # of the links and of what is lost
        self._sender: Sender | None = None
        self._receiver: Receiver | None = None
        self._under_way = 0
        self._active_s, self._active_since = 0.0, 0.0
        names = labels or [f"stage {index}" for index in range(len(makes))]
        self._crew = Crew(makes, names, threads, resources or Resources(), self.limits, spares=spares)
        self._watch = Watch(self.limits, self._lose, self._active)
        try:
            self._crew.settle(placement_group, first_bundle, strategy)
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
            message = receiver.receive(self.limits.step_s * (self.depth + 1))
        except LinkLost as error:
            raise self._stage_lost(str(error)) from None
        self._under_way -= 1
        if self._under_way == 0:
            self._active_s += time.monotonic() - self._active_since
        if message.kind == FAILED:
            stage, why = message.meta.get("stage"), message.meta.get("why")
            raise EngineFailed(f"Stage {stage} could not compute a batch: {why}")
        return message

    def repair(self) -> None:
        """Makes the pipeline whole: ends the epoch, replaces the stages that died or froze, links them all anew.

        Stages that live keep their process and weights. Raises ReplicaLost where the limit does not suffice.
        """
        began = time.monotonic()
        self._lose("it is being repaired")
        if self._under_way:
            self._active_s += time.monotonic() - self._active_since
            self._under_way = 0
        reason = self._lost
        silences = self._watch.rest()
        try:
            replaced = self._make_whole(self.limits.repair_s, silences)
        except ReplicaLost:
            raise
        except StagelineError as error:
            raise ReplicaLost(f"The pipeline could not be repaired: {error}") from error
        log.warning("repaired in %.2f s, replacing stages %s: %s", time.monotonic() - began, replaced, reason)

    def stages(self) -> list[StageState]:
        """What each stage is and does at present."""
        return [self._status(index) for index in range(self.depth)]

    def trace(self, *, on: bool) -> None:
        """Has the stages remember the times of each batch from now on, or no longer."""
        self._crew.ask("trace", on)

    def take_trace(self) -> list[list[Traced]]:
        """What each stage remembered since the last call."""
        return self._crew.ask("take_trace")

    def close(self) -> None:
        """Ends the stages and what else was started for them."""
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
        self._epoch += 1
        places = [Place(self._membership, self._epoch, link) for link in range(self.depth + 1)]
        addresses, started = self._crew.gather(places, silences, deadline)
        replaced |= started
        with ExitStack() as undo:
            listener = Listener(self._crew.host, places[-1], self.limits.link)
            undo.callback(listener.close)
            serving = self._crew.serve([*addresses[1:], listener.address], places)
            # The stages link themselves at the same time: connect first, then wait, then see to the reply.
            sender = Sender(addresses[0], places[0], self.limits.link)
            undo.callback(sender.close)
            receiver = listener.accept()
            undo.callback(receiver.close)
            sender.confirm()
            with self._lock:
                if self._closed:
                    raise LinkLost("it was closed")
                self._sender, self._receiver, self._lost = sender, receiver, None
            undo.pop_all()
            listener.close()
        self._watch.follow([seat.actor for seat in self._crew.seats], serving)
        self._crew.keep_spares()

    def _lose(self, reason: str) -> None:
        """From any thread: whoever waits is told."""
        with self._lock:
            self._lost = self._lost or reason
            ends = (self._sender, self._receiver)
        for end in ends:
            if end is not None:
                end.close()

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
