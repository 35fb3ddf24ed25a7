"""The processes of a pipeline's stages: starts them, finds out which are to be replaced, replaces and ends them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from cluster.pipeline import actors
from cluster.pipeline.actors import Actor, Room
from cluster.pipeline.handshake import Place
from cluster.pipeline.judgement import Known, Verdict, judge
from cluster.pipeline.limits import Limits
from cluster.pipeline.link import Address
from cluster.pipeline.placement import Resources, Strategy, place
from cluster.pipeline.stage import Born, Loaded, MakeStage
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


class Crew:
    """`settle` comes first, `close` last."""

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
        self._room = Room(group, first, self._resources, {"OMP_NUM_THREADS": str(self._threads)})
        self._nodes = actors.node_addresses()
        self.host = self._nodes[ray.get_runtime_context().get_node_id()][0]

    def gather(
        self, places: Sequence[Place], silences: Sequence[tuple[float, bool]], deadline: float
    ) -> tuple[list[Address], set[int]]:
        """Begins an epoch: all stages listen, those of them that cannot are replaced. `silences` say for each stage for
        how long it has not answered so far, and whether it is stuck.

        Returns where the stages listen, and which were started. Raises NotYet, and what loading raises.
        """
        present = {index for index, seat in enumerate(self.seats) if seat.loaded is not None}
        addresses = self._listen(present, places, silences)
        verdicts = {index: self._verdict(index, addresses.get(index), silences) for index in present}
        awaited = sorted(index for index, verdict in verdicts.items() if verdict is Verdict.AWAIT)
        if awaited:
            raise NotYet(f"the node of stage {awaited[0]} cannot be reached", unreachable=True)
        lacking = {index for index in range(len(self.seats)) if verdicts.get(index) is not Verdict.KEEP}
        self._replace(lacking, deadline)
        addresses |= self._listen(lacking, places, [])
        for index in range(len(self.seats)):
            if not isinstance(addresses.get(index), tuple):
                raise NotYet(f"stage {index} was lost again")
        return [addresses[index] for index in range(len(self.seats))], lacking

    def serve(self, to: Sequence[Address], places: Sequence[Place]) -> list[Any]:
        """Starts each stage's long-running call, with where the next one listens and as which place of the ring."""
        return [
            self._actor(index).serve.remote(address, places[index + 1], self._limits.link)
            for index, address in enumerate(to)
        ]

    def address(self, index: int) -> str:
        """Of the node where a stage is; "" while there is none."""
        return "" if self.seats[index].born is None else self._address(index)[0]

    def ask(self, method: str, *arguments: Any) -> list[Any]:
        """What the stages answer, in their order. Raises EngineFailed where one does not."""
        calls = {i: getattr(self._actor(i), method).remote(*arguments) for i in range(len(self.seats))}
        found = actors.answers(calls, _ASK_S)
        for index in calls:
            if index not in found or isinstance(found[index], Exception):
                raise EngineFailed(
                    f"Stage {index} does not answer: {actors.in_short(found.get(index, 'it took too long'))}"
                )
        return [found[index] for index in calls]

    def keep_spares(self) -> None:
        """Starts spare processes where there are to be some and are none. Does not wait for them."""
        if not self._with_spares:
            return
        for index, seat in enumerate(self.seats):
            if seat.born is not None and seat.born.node not in self._spares:
                actor = self._start(index, spare=True)
                actor.warm.remote(seat.make)
                self._spares[seat.born.node] = (actor, actor.born.remote())

    def close(self) -> None:
        """Ends all processes and waits for that."""
        if not ray.is_initialized():
            return
        try:
            spares = actors.answers({index: born for index, (_, born) in enumerate(self._spares.values())}, 0.0)
            for index, (actor, _) in enumerate(self._spares.values()):
                born = spares.get(index)
                self._started[actor] = born if isinstance(born, Born) else None
            for actor, known in self._started.items():
                actors.end_stage(actor, known)
            actors.wait_ended(list(self._started), [born for born in self._started.values() if born], _END_S)
        except RayError:
            log.exception("ending the stages failed")
        finally:
            self._started.clear()
            self._spares.clear()
            for seat in self.seats:
                seat.actor = seat.loaded = None
            if self._own_group is not None:
                remove_placement_group(self._own_group)
                self._own_group = None

    def _listen(
        self, indices: set[int], places: Sequence[Place], silences: Sequence[tuple[float, bool]]
    ) -> dict[int, Any]:
        """Answers by index: an address, an exception, or nothing where none came in time."""
        calls = {
            index: self._actor(index).listen.remote(places[index], self._address(index)[0], self._limits.link)
            for index in indices
        }
        got = actors.answers(calls, _SOON_S)
        silent = dict(enumerate(seconds for seconds, _ in silences))
        patience = [self._limits.heartbeat_s - silent.get(index, 0.0) for index in indices - got.keys()]
        if patience and max(patience) > _SOON_S:
            got |= actors.answers({i: call for i, call in calls.items() if i not in got}, max(patience) - _SOON_S)
        return got

    def _verdict(self, index: int, heard: Any, silences: Sequence[tuple[float, bool]]) -> Verdict:
        answered = isinstance(heard, tuple)
        stuck = index < len(silences) and silences[index][1]
        known = Known(
            ended=isinstance(heard, ActorDiedError),
            answered=answered,
            silent_s=0.0 if answered else self._limits.heartbeat_s,  # so long it was waited for
            stuck=stuck,
            reachable=answered or actors.reachable(self._address(index)),
        )
        return judge(known, heartbeat_s=self._limits.heartbeat_s)

    def _replace(self, indices: set[int], deadline: float) -> None:
        """Ends the processes of these seats and loads new ones, all at the same time."""
        born, loaded = {}, {}
        for index in sorted(indices):
            seat = self.seats[index]
            actor = self._take_spare(seat.born) or self._start(index)
            if seat.actor is not None:
                self._end(seat.actor, seat.born)
            seat.actor, seat.born, seat.loaded = actor, None, None
            seat.starts += 1
            born[index] = actor.born.remote()
            loaded[index] = actor.load.remote(seat.make, index, self._threads)
        results = actors.answers(loaded, deadline - time.monotonic())
        births = actors.answers(born, _SOON_S)
        for index in sorted(indices):
            seat, result = self.seats[index], results.get(index)
            who = births.get(index)
            if isinstance(who, Born):
                seat.born = self._started[seat.actor] = who
            if isinstance(result, Loaded) and seat.born is not None:
                seat.loaded = result
        for index in sorted(indices):
            if self.seats[index].loaded is None:
                self._judge_failed_load(index, results.get(index))

    def _judge_failed_load(self, index: int, result: Any) -> None:
        if isinstance(result, StagelineError):
            raise result
        if result is None or isinstance(result, RayError):
            reason = "it took too long" if result is None else actors.in_short(result)
            raise NotYet(f"stage {index} could not be started: {reason}")
        raise EngineFailed(f"Stage {index} could not be loaded: {type(result).__name__}: {result}") from result

    def _start(self, index: int, *, spare: bool = False) -> Actor:
        assert self._room is not None
        actor = actors.start_stage(self._room, index, spare=spare)
        self._started[actor] = None
        return actor

    def _take_spare(self, before: Born | None) -> Actor | None:
        """The spare process of the node where a stage was."""
        if before is None or before.node not in self._spares:
            return None
        actor, _ = self._spares.pop(before.node)
        return actor

    def _end(self, actor: Actor, born: Born | None) -> None:
        actors.end_stage(actor, born)
        self._started.pop(actor, None)

    def _actor(self, index: int) -> Actor:
        actor = self.seats[index].actor
        assert actor is not None, f"stage {index} was never started"
        return actor

    def _address(self, index: int) -> tuple[str, int]:
        born = self.seats[index].born
        assert born is not None, f"stage {index} was never started"
        if born.node not in self._nodes:
            self._nodes = actors.node_addresses()
        return self._nodes[born.node]
