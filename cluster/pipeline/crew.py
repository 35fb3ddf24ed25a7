"""The processes of a pipeline's stages: starts them, finds out which are to be replaced, replaces and ends them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from cluster.pipeline import actors
from cluster.pipeline.actors import Actor, Room
from cluster.pipeline.handshake import Place
from cluster.pipeline.judgement import Known, Verdict, judge, patience_s
from cluster.pipeline.limits import Limits
from cluster.pipeline.link import Address
from cluster.pipeline.placement import Resources, Strategy, place
from cluster.pipeline.stage import Born, Loaded, MakeStage
from cluster.threads import thread_environment
from engine.errors import ConfigError, EngineFailed, StagelineError

log = logging.getLogger(__name__)

_SOON_S = 0.3  # within which a process answers that has nothing wrong with it
_END_S = 8.0
_ASK_S = 10.0


class NotYet(Exception):
    """The stages cannot be had at present. `unreachable`: because of a node that does not answer."""

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


@dataclass(slots=True)
class Seat:
    """A stage's place in the pipeline, and the process that has it now, if any."""

    make: MakeStage
    label: str
    actor: Actor | None = None
    born: Born | None = None
    loaded: Loaded | None = None
    starts: int = 0
    unasked_since: float | None = None  # since when it could not be asked, though Ray does not say that it has ended


class Crew:
    """`settle` comes first, `close` last, from any thread: nothing is started after that."""

    def __init__(
        self,
        makes: Sequence[MakeStage],
        labels: Sequence[str],
        threads: int,
        resources: Resources,
        limits: Limits,
        *,
        spares: bool,
    ) -> None:
        self.seats = [Seat(make, label) for make, label in zip(makes, labels, strict=True)]
        self._threads, self._resources, self._limits = threads, resources, limits
        # Ray hides the GPUs from a process that has not reserved any, for good: a spare could not become such a stage.
        self._with_spares = spares and not resources.num_gpus
        self._spares: dict[str, tuple[Actor, Any]] = {}  # by node: with the call that says which process it is
        self._supplied: dict[int, Actor] = {}  # by stage: processes that wait to load it at first
        self._lock = threading.Lock()  # of what was started and is to be ended
        self._closed = False
        self._started: dict[Actor, Born | None] = {}  # all that are not known to have ended
        self._own_group: PlacementGroup | None = None
        self._nodes: dict[str, tuple[str, int]] = {}
        self._room: Room | None = None
        self.host = ""

    def settle(self, group: PlacementGroup | None, first_bundle: int | None, strategy: Strategy) -> None:
        """Finds or makes the placement group. Raises ConfigError where the cluster has no room for it."""
        group = group or ray.util.get_current_placement_group()
        first = 1 if first_bundle is None else first_bundle
        if group is None:
            placement = place(len(self.seats), self._resources, strategy)
            group = self._own_group = placement_group(list(placement.bundles), strategy=placement.strategy)
            first = placement.first_stage
        if group.bundle_count < first + len(self.seats):
            raise ConfigError(
                f"{len(self.seats)} stages from bundle {first} on do not fit into {group.bundle_count} bundles."
            )
        if not group.wait(self._limits.start_s):
            raise ConfigError(
                f"The cluster has no room for {len(self.seats)} stages of {self._resources.bundle} each ({strategy}): "
                "take fewer stages, fewer cores for each, or add nodes.",
                param="stages",
            )
        self._room = Room(group, first, self._resources, thread_environment(self._threads))
        self._nodes = actors.node_addresses()
        self.host = self._nodes[ray.get_runtime_context().get_node_id()][0]

    def supply(self, have: Callable[[], object]) -> None:
        """Starts the stages' processes and has each call this, all at the same time. Raises what it raises, and
        EngineFailed where it takes too long. A process that is lost meanwhile is replaced when it is to load."""
        self._supplied = {index: self._start(index) for index in range(len(self.seats))}
        calls = {index: actor.supply.remote(have) for index, actor in self._supplied.items()}
        found = actors.answers(calls, self._limits.supply_s)
        for index in calls:
            result = found.get(index)
            if isinstance(result, StagelineError):
                raise result
            if index not in found or actors.has_raised(result):
                why = (
                    actors.in_short(result) if index in found else f"it takes longer than {self._limits.supply_s:.0f} s"
                )
                raise EngineFailed(f"Stage {index} cannot have what it is loaded from: {why}")

    def gather(
        self, places: Sequence[Place], silences: Sequence[tuple[float, bool]], deadline: float
    ) -> tuple[list[Address], set[int]]:
        """Begins an epoch: all stages listen, those of them that cannot are replaced. `silences` say for each stage for
        how long it has not answered so far, and whether it is stuck.

        Returns where the stages listen, and which were started. Raises NotYet, what loading raises, and EngineFailed
        where a stage cannot listen.
        """
        everybody = set(range(len(self.seats)))
        present = {index for index in everybody if self.seats[index].loaded is not None}
        heard, cut_off = self._listen(present, places, silences)
        verdicts = {i: self._verdict(i, heard.get(i), silences, reachable=i not in cut_off) for i in present}
        for index in sorted(present):
            if verdicts[index] is Verdict.AWAIT and index in cut_off:
                raise NotYet(f"the node of stage {index} cannot be reached", unreachable=True)
            if verdicts[index] is Verdict.AWAIT:
                raise NotYet(f"stage {index} cannot be asked: {actors.in_short(heard.get(index))}")
        kept = {index for index in present if verdicts[index] is Verdict.KEEP}
        replaced = everybody - kept
        until, freeing = self._free(kept, deadline)
        self._replace(replaced, deadline)
        if busy := self._still_busy(freeing, until):
            log.warning("stages %s are still at a batch: they are replaced", sorted(busy))
            self._replace(busy, deadline)
            replaced |= busy
        heard |= self._listen(replaced, places, [])[0]
        for index in sorted(everybody):
            if not isinstance(heard.get(index), tuple):
                raise NotYet(f"stage {index} was lost again: {actors.in_short(heard.get(index, 'it does not answer'))}")
        return [heard[index] for index in sorted(everybody)], replaced

    def serve(self, to: Sequence[Address], places: Sequence[Place]) -> list[Any]:
        """Starts each stage's long-running call, with where the next one listens and as which place of the ring."""
        return [
            self._actor(index).serve.remote(address, places[index + 1], self._limits.link)
            for index, address in enumerate(to)
        ]

    def address(self, index: int) -> str:
        """Of the node where a stage is; "" while there is none. Asks nobody, so that any thread may call it."""
        born = self.seats[index].born
        return "" if born is None else self._nodes.get(born.node, ("", 0))[0]

    def ask(self, method: str, *arguments: Any) -> list[Any]:
        """What the stages answer, in their order. Raises EngineFailed where one does not."""
        found = self.ask_each(method, *arguments, timeout_s=_ASK_S)
        for index, result in enumerate(found):
            if isinstance(result, Exception):
                raise EngineFailed(f"Stage {index} does not answer: {actors.in_short(result)}")
        return found

    def ask_each(self, method: str, *arguments: Any, timeout_s: float, only: int | None = None) -> list[Any]:
        """What the stages, or the `only` one, answer in that time; in the place of one that does not, why: an
        exception. From any thread, and while stages are replaced."""
        indices = range(len(self.seats)) if only is None else [only]
        present = {index: actor for index in indices if (actor := self.seats[index].actor) is not None}
        found = actors.answers({i: getattr(a, method).remote(*arguments) for i, a in present.items()}, timeout_s)
        late, absent = EngineFailed("it took too long"), EngineFailed("it has no process at present")
        return [found.get(index, late) if index in present else absent for index in indices]

    def keep_spares(self) -> None:
        """Starts spare processes where there are to be some and are none. Does not wait for them."""
        if not self._with_spares:
            return
        for index, seat in enumerate(self.seats):
            if seat.born is not None and seat.born.node not in self._spares:
                actor = self._start(index, spare=True)
                actor.warm.remote(seat.make)
                with self._lock:
                    self._spares[seat.born.node] = (actor, actor.born.remote())

    def close(self) -> None:
        """Ends all processes and waits for that. Whoever waits for one of them is told by Ray."""
        with self._lock:
            self._closed = True
            started, self._started = self._started, {}
            spares, self._spares = list(self._spares.values()), {}
            group, self._own_group = self._own_group, None
        if not ray.is_initialized():
            return
        try:
            births = actors.answers({index: born for index, (_, born) in enumerate(spares)}, 0.0)
            for index, (actor, _) in enumerate(spares):
                born = births.get(index)
                started[actor] = born if isinstance(born, Born) else None
            for actor, known in started.items():
                actors.end_stage(actor, known)
            actors.wait_ended(list(started), [born for born in started.values() if born], _END_S)
        except RayError:
            log.exception("ending the stages failed")
        finally:
            for seat in self.seats:
                seat.actor = seat.loaded = None
            if group is not None:
                remove_placement_group(group)

    def _listen(
        self, indices: set[int], places: Sequence[Place], silences: Sequence[tuple[float, bool]]
    ) -> tuple[dict[int, Any], set[int]]:
        """Answers by index: an address, Ray's exception, or nothing where none came in time; and which of those without
        an address are on nodes that cannot be reached. Raises EngineFailed where a stage cannot listen."""
        calls = {
            index: self._actor(index).listen.remote(places[index], self._address(index)[0], self._limits.link)
            for index in indices
        }
        got = actors.answers(calls, _SOON_S)
        cut_off = self._cut_off({index for index in indices if not isinstance(got.get(index), tuple)})
        silent = dict(enumerate(seconds for seconds, _ in silences))
        awaited = indices - got.keys() - cut_off
        patience = [self._limits.heartbeat_s - silent.get(index, 0.0) for index in awaited]
        if patience and max(patience) > _SOON_S:
            got |= actors.answers({index: calls[index] for index in awaited}, max(patience) - _SOON_S)
        for index, result in got.items():
            if actors.has_raised(result):
                where = f"at {self._address(index)[0]}"
                raise EngineFailed(f"Stage {index} cannot listen {where}: {type(result).__name__}: {result}")
        return got, cut_off

    def _cut_off(self, indices: set[int]) -> set[int]:
        """Those of the stages whose nodes cannot be connected to. Asks each node once."""
        addresses = {index: self._address(index) for index in indices}
        reachable = {address: actors.reachable(address) for address in set(addresses.values())}
        return {index for index in indices if not reachable[addresses[index]]}

    def _verdict(self, index: int, heard: Any, silences: Sequence[tuple[float, bool]], *, reachable: bool) -> Verdict:
        seat, answered, now = self.seats[index], isinstance(heard, tuple), time.monotonic()
        seat.unasked_since = None if answered else seat.unasked_since or now
        # Without an answer, it was waited for until then. An exception of Ray may be a moment's, and says nothing.
        silent_s = self._limits.heartbeat_s if heard is None else now - (seat.unasked_since or now)
        known = Known(
            ended=isinstance(heard, ActorDiedError),
            answered=answered,
            silent_s=silent_s,
            stuck=index < len(silences) and silences[index][1],
            reachable=reachable,
        )
        return judge(known, heartbeat_s=self._limits.heartbeat_s)

    def _free(self, indices: set[int], deadline: float) -> tuple[float, dict[int, Any]]:
        """Asks stages to say when they are done with the batch that they may be at. Returns until when to wait for
        that, and the calls."""
        left_s = deadline - time.monotonic()
        patience = {}
        for index in indices:
            loaded = self.seats[index].loaded
            patience[index] = patience_s(left_s, loaded.load_s if loaded else 0.0)
        until = time.monotonic() + max(patience.values(), default=0.0) + _SOON_S
        return until, {index: self._actor(index).free.remote(seconds) for index, seconds in patience.items()}

    def _still_busy(self, freeing: dict[int, Any], until: float) -> set[int]:
        found = actors.answers(freeing, until - time.monotonic())
        return {index for index in freeing if found.get(index) in (None, False)}

    def _replace(self, indices: set[int], deadline: float) -> None:
        """Ends the processes of these seats and loads new ones, all at the same time."""
        born, loaded = {}, {}
        for index in sorted(indices):
            seat = self.seats[index]
            actor = self._supplied.pop(index, None) or self._take_spare(seat.born) or self._start(index)
            if seat.actor is not None:
                self._end(seat.actor, seat.born)
            seat.actor, seat.born, seat.loaded, seat.unasked_since = actor, None, None, None
            seat.starts += 1
            born[index] = actor.born.remote()
            loaded[index] = actor.load.remote(seat.make, index, self._threads)
        results = actors.answers(loaded, deadline - time.monotonic())
        births = actors.answers(born, self._limits.heartbeat_s)
        for index in sorted(indices):
            seat, result = self.seats[index], results.get(index)
            who = births.get(index)
            if isinstance(who, Born):
                seat.born = who
                with self._lock:
                    if seat.actor in self._started:
                        self._started[seat.actor] = who
            if isinstance(result, Loaded) and seat.born is not None:
                seat.loaded = result
        for index in sorted(indices):
            if self.seats[index].loaded is None:
                self._judge_failed_load(index, results.get(index))

    def _judge_failed_load(self, index: int, result: Any) -> None:
        if isinstance(result, StagelineError):
            raise result
        if not actors.has_raised(result):
            loaded = "it does not say which process it is" if isinstance(result, Loaded) else actors.in_short(result)
            reason = "it took too long" if result is None else loaded
            raise NotYet(f"stage {index} could not be started: {reason}")
        raise EngineFailed(f"Stage {index} could not be loaded: {type(result).__name__}: {result}") from result

    def _start(self, index: int, *, spare: bool = False) -> Actor:
        assert self._room is not None
        with self._lock:
            if self._closed:
                raise EngineFailed("The pipeline was closed.")
            actor = actors.start_stage(self._room, index, spare=spare)
            self._started[actor] = None
        return actor

    def _take_spare(self, before: Born | None) -> Actor | None:
        """The spare process of the node where a stage was."""
        with self._lock:
            if before is None or before.node not in self._spares:
                return None
            actor, _ = self._spares.pop(before.node)
            return actor

    def _end(self, actor: Actor, born: Born | None) -> None:
        actors.end_stage(actor, born)
        with self._lock:
            self._started.pop(actor, None)

    def _actor(self, index: int) -> Actor:
        actor = self.seats[index].actor
        if actor is None:
            raise EngineFailed(f"Stage {index} has no process.")
        return actor

    def _address(self, index: int) -> tuple[str, int]:
        born = self.seats[index].born
        if born is None:
            raise EngineFailed(f"Stage {index} has no process.")
        if born.node not in self._nodes:
            self._nodes = actors.node_addresses()
        return self._nodes[born.node]
