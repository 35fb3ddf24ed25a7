"""What the replicas of every task share: an engine on its own thread, its health, its line in `/status`, its metrics.

Plain classes; `deployments/app.py` makes Serve deployments of them.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Generic

import psutil
import torch
from ray.exceptions import ActorUnavailableError
from ray.util import get_node_ip_address

from cluster.pipeline.state import Meanwhile, StageState
from cluster.watch_limits import limits_here
from cluster.watching import watch
from deployments import IMPORTED_S
from deployments.asked import TRACES
from deployments.channels.handshake import Doorway
from deployments.channels.server import CallServer
from deployments.load import Load
from deployments.load_meter import LoadMeter
from deployments.logs import set_up_here
from deployments.own_name import own_name
from deployments.pipelines import pipeline_of, stages_of
from deployments.profiles.gather import ReplicaProfile, profile_replica, replica_stacks
from deployments.replica_metrics import LABELS, Measures, ReplicaMetrics, room_family, start_family
from deployments.scaling import ReplicaLoad
from deployments.stage_status import stage_families, stage_status
from deployments.stalls import EVENTS, STEP, event_loop, stall_family
from deployments.tracing.here import replica_tracer
from engine.errors import ReplicaEnded
from engine.loop import EngineLoop
from engine.steps import O, P, R, S, SteppedEngine
from engine.watchdog import Suspect

if TYPE_CHECKING:
    from deployments.tracing.replica import CallTrace

log = logging.getLogger(__name__)

TELL_S = 0.08  # between two answers that tell of the load on the way


@dataclass(frozen=True, slots=True)
class Start:
    """What a start took, in seconds: the process until our first line, imports (torch's above all), kernels and
    weights."""

    process_s: float
    imports_s: float
    load_s: float

    @property
    def status(self) -> dict[str, float]:
        """For `/status`."""
        return {name: round(seconds, 2) for name, seconds in asdict(self).items()}

    def __str__(self) -> str:
        return f"process {self.process_s:.2f} s, imports {self.imports_s:.2f} s, load {self.load_s:.2f} s"


class Replica(ABC, Generic[R, P, O, S]):
    """Loads the model when it is made. Raises CheckpointError and ConfigError."""

    def __init__(self, model: str, variant: str, threads: int, load: Callable[[], SteppedEngine[R, P, O, S]]) -> None:
        set_up_here(f"{model}:{variant}")
        self.model, self.variant = model, variant
        self.name = own_name()  # in what it tells of its load
        self.node = get_node_ip_address()
        self.metrics = ReplicaMetrics(model, variant)
        self.meter = LoadMeter()
        self.told_s = -math.inf
        self.calls = itertools.count()
        self.events: asyncio.AbstractEventLoop | None = None
        self.server = CallServer(self.name, self.told)
        torch.set_num_threads(threads)
        made_s = time.time()
        self.loop = EngineLoop(load, self.deliver, self.observe)
        self.loop.start()
        self.tracer = replica_tracer(model, variant, self.name, pipeline_of(self.loop.engine))
        self.watchdog = watch(f"{model}:{variant} {self.name[:8]}")
        self.watchdog.suspects.append(Suspect(STEP, self.loop.busy_s, limits_here().step_s))
        self.start = Start(
            process_s=IMPORTED_S - psutil.Process().create_time(),
            imports_s=made_s - IMPORTED_S,
            load_s=time.time() - made_s,
        )
        log.info("%s:%s is ready: %s", model, variant, self.start)

    def traced(self, arrival_s: float) -> CallTrace | None:
        """The trace of the call that this task answers, whose request came then; None where nobody traces it."""
        if self.tracer is None or not (traces := TRACES.get()):
            return None
        return self.tracer.begin(traces, arrival_s)

    @abstractmethod
    def told(self, asked: Any) -> AsyncIterator[Any]:
        """What the front door asks, to the parts of the answer. Closing the iterator aborts it."""

    @abstractmethod
    def measures(self, stats: S) -> Measures:
        """What the engine's snapshot says, as metrics."""

    @abstractmethod
    def at_work(self, stats: S) -> tuple[int, int]:
        """Requests that run and that wait."""

    @abstractmethod
    def deliver(self, outputs: list[tuple[str, O]]) -> None:
        """Takes what requests gained, on the engine's thread."""

    def stages(self) -> Sequence[StageState]:
        """The stages of a replica that is a pipeline, in order; none of one that computes by itself."""
        return stages_of(self.loop.engine)

    def observe(self, tokens: int, seconds: float) -> None:
        """Takes a step's tokens and seconds, on the engine's thread."""
        self.metrics.observe_step(tokens, seconds)
        self.meter.step(tokens, seconds)

    async def load(self, front_door: str, turned_away_per_s: float = 0.0) -> Load:
        """This replica's load. Each front door asks several times a second, by its name, and tells how many tokens/s
        for this variant it took elsewhere, for each replica."""
        if len(self.watchdog.suspects) == 1:  # the event loop is known from the first question on
            self.watchdog.suspects.append(event_loop(asyncio.get_running_loop()))
        self.meter.turned_away(front_door, turned_away_per_s)
        return self.load_now()

    def load_due(self) -> Load | None:
        """The load where nobody was told lately: to go along with an answer, which costs less than being asked."""
        now = time.monotonic()
        if now - self.told_s < TELL_S:
            return None
        self.told_s = now
        return self.load_now()

    def load_now(self) -> Load:
        """The same for whoever is in this process."""
        limits = self.loop.engine.limits
        running, waiting = self.at_work(self.loop.stats())
        return self.meter.load(
            self.name,
            running,
            waiting,
            slots=limits.max_running,
            places=limits.max_running + limits.max_waiting,
            step_tokens=limits.max_batch_tokens,
            node=self.node,
        )

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `deployments/serve_scaling.py` goes by. Serve asks, by this name."""
        return asdict(ReplicaLoad.of(self.load_now()))

    async def doorway(self) -> Doorway:
        """Where it takes calls. The front door asks, through Serve, before it can make one."""
        return await self.server.doorway(self.node)

    async def here(self) -> str:
        """A sign of life: this replica's name."""
        return self.name

    async def describe(self) -> dict[str, object]:
        """This replica's line in `GET /status`."""
        return {
            "variant": self.variant,
            "replica": self.name[:8],
            "pid": os.getpid(),
            "node": self.node,
            "state": "ready" if self.loop.healthy else "failed",
            **self.start.status,
            **self.measures(self.loop.stats()).status,
            **stage_status(self.stages()),
        }

    async def exposition(self) -> str:
        """This replica's metrics in Prometheus' text format."""
        more = [
            *stage_families(self.stages(), self.name[:8], LABELS, self.metrics.labels),
            stall_family({STEP: 0, EVENTS: 0} | self.watchdog.stalls(), self.model, self.variant, self.name[:8]),
            start_family(asdict(self.start), self.name[:8], self.metrics.labels),
            room_family(self.metrics.steps * self.loop.engine.limits.max_batch_tokens, self.metrics.labels),
        ]
        return self.metrics.exposition(self.measures(self.loop.stats()), more)

    async def profile(self, replica: str, seconds: float) -> ReplicaProfile | None:
        """What the replica of this name and its stages do in that time, while they do it. None from any other."""
        if replica != self.name[:8]:
            return None
        return await asyncio.to_thread(profile_replica, self.name, self.loop.engine, seconds)

    async def meanwhile(self, replica: str, start_s: float, end_s: float) -> list[Meanwhile] | None:
        """What the stages of the replica of this name did in a time by the wall clock. None from any other."""
        pipeline = pipeline_of(self.loop.engine)
        if replica != self.name:
            return None
        ahead_s = time.time() - time.monotonic()
        return [] if pipeline is None else pipeline.meanwhile(start_s - ahead_s, end_s - ahead_s)

    async def stacks(self) -> dict[str, str]:
        """Where all threads of this process and its stages are, by names of processes."""
        return await asyncio.to_thread(replica_stacks, self.name, self.loop.engine)

    def check_engine(self) -> None:
        """Raises ReplicaEnded where the engine has stopped working."""
        if not self.loop.healthy:
            why = f"the engine of {self.model}:{self.variant} has stopped working; try again"
            raise ReplicaEnded(why, replica=self.name)

    def check_health(self) -> None:
        """Serve replaces the replica when this raises.

        At once for an error of Ray's that means a dead actor; any other would have to come three times in a row, 2 s
        apart, and meanwhile new requests would be sent here.
        """
        try:
            self.check_engine()
        except ReplicaEnded as error:
            raise ActorUnavailableError(error.message, None) from error

    async def end(self) -> None:
        """Ends when the last answer has been given, and takes the engine along."""
        await self.server.close()
        await asyncio.to_thread(self.loop.stop)

    def __del__(self) -> Coroutine[Any, Any, None] | None:
        # Serve calls this before it ends the process, and awaits what it returns, for as long as it may take: of the
        # calls that come over channels it knows nothing.
        if getattr(self, "loop", None) is None:
            return None
        self.watchdog.stop()
        if self.server.connections:
            return self.end()
        self.loop.stop()
        return None
