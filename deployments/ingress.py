"""The front door as a Serve ingress: connects `front_door/` to the replicas' handles."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.access.exposure import for_this_machine_only
from deployments.access.ring import KeyFile
from deployments.admin_server import serve_admin
from deployments.asking import answers
from deployments.calls import Replicas
from deployments.channels.handshake import Doorway
from deployments.channels.pool import Channels
from deployments.choosable import SHUNNED, listed, on_change
from deployments.drift.metrics import DriftMetrics
from deployments.drift.watched import watched
from deployments.front_door.admin import create_admin_app
from deployments.front_door.app import create_app
from deployments.front_door.metrics_merge import page_of
from deployments.front_door.served_models import ServedModel
from deployments.front_door.service import Limits, Service
from deployments.front_door.trail.asking import told as told_of
from deployments.front_door.trail.ring import Query, Ring
from deployments.inspecting import Inspector
from deployments.load import Load
from deployments.load_watch import LoadWatch
from deployments.logs import set_up
from deployments.offers import Offer, OfferedVariant, served
from deployments.own_name import own_name
from deployments.presence import Key, Presence
from deployments.provision import base_path
from deployments.retries import Cause
from deployments.settings import Http, Logs, Tracing
from deployments.stalls import watch_front_door
from deployments.tracing.here import request_tracer
from engine.errors import EngineFailed

log = logging.getLogger(__name__)

DESCRIBE_TIMEOUT_S = 10.0  # before another replica is asked: the one that was asked may hang
ASK_TIMEOUT_S = 2.0  # for what replicas tell of themselves; a busy or dying one must not hold up /status and /metrics
LOAD_TIMEOUT_S = 1.0
WAKE_TIMEOUT_S = 60.0
LISTED_S = 1.0  # in which Serve has told which replicas there are
SETTLE_S = 30.0
RETRY_S = 1.0
MOST_WAITING = 1000  # requests to a variant while none of its replicas lives; else its engine's own queue is the limit


class Ingress:
    """`handles` by (model, variant). A model appears as soon as a replica of one of its variants answers. `keys` is the
    file of API keys, where there is one."""

    def __init__(
        self,
        offers: Sequence[Offer],
        handles: dict[tuple[str, str], DeploymentHandle[Any]],
        http: Http,
        keys: str | None = None,
        logs: Logs | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        if logs is not None:
            set_up(logs, "front-door")
        self.name = own_name()
        self.http = http
        self.logs = logs or Logs()
        self.tracer = request_tracer(tracing, self.name)
        self.ring: Ring | None = None
        self.several = http.front_doors > 1
        self.keys = None if keys is None else KeyFile(Path(keys))
        self.registry: CollectorRegistry | None = None
        self.drift = DriftMetrics()
        self.offers = tuple(offers)
        self.handles = handles
        self.models: dict[str, ServedModel] = {}
        self.connecting: list[asyncio.Task[None]] = []
        self.watches: list[LoadWatch] = []
        self.waking: dict[tuple[str, str], asyncio.Task[None]] = {}
        self.presence = Presence(self.who_is_here, lambda key: listed(handles[key].deployment_name), SHUNNED)
        self.channels = {key: self.channels_to(key) for key in handles}
        self.replicas = Replicas(self.channels, self.presence, self.hear, self.resumed)

    def channels_to(self, key: Key) -> Channels:
        """The connections to a variant's replicas. Whoever waits for the first wakes the variant."""
        names = partial(listed, self.handles[key].deployment_name)
        return Channels(partial(self.doorways, key), names, SHUNNED, partial(self.wake, *key), MOST_WAITING)

    def __serve_build_asgi_app__(self) -> FastAPI:
        inspector = Inspector(self.handles, self.ask)
        service = Service(
            models=self.models,
            ready=self.ready,
            metrics_sources=self.metrics_sources,
            status=self.status,
            version=version("stageline"),
            limits=Limits(max_body_bytes=self.http.max_body),
            metrics_labels=self.metrics_labels(),
            start=self.settle,
            keys=self.keys,
            own_names=for_this_machine_only(self.http, has_keys=self.keys is not None),
            slow_s=self.logs.slow_s,
            log_texts=self.logs.prompts,
            trails_elsewhere=self.other_trails,
            tracer=self.tracer,
            stages=inspector.stages,
            profile=inspector.profile,
            stacks=inspector.stacks,
        )
        events = asyncio.get_running_loop()
        self.connecting = [events.create_task(self.connect(offer)) for offer in self.offers]
        self.connecting.append(events.create_task(self.presence.watch()))
        for key, channels in self.channels.items():
            on_change(self.handles[key].deployment_name, partial(events.call_soon_threadsafe, channels.changed))
            self.connecting.append(events.create_task(channels.keep()))
        if self.keys is not None:
            self.connecting.append(events.create_task(self.keys.watch()))
        app = create_app(service)
        self.registry, self.ring = app.state.door.metrics.registry, app.state.door.ring
        registry = app.state.door.metrics.registry
        registry.register(self.drift)
        watch_front_door(registry)
        if self.http.admin_port is not None:
            admin = serve_admin(create_admin_app(app.state.door), self.http.admin_host, self.http.admin_port)
            self.connecting.append(events.create_task(admin))
        return app

    def ready(self) -> bool:
        """Whether every model can answer."""
        return len(self.models) == len(self.offers)

    async def settle(self) -> None:
        """Waits until the models are offered that can be by now. Whoever comes before would be told that there is no
        such model; and Serve ends a front door that this one replaces as soon as this one has started."""
        events = asyncio.get_running_loop()
        began_s = events.time()
        while not self.ready() and (  # noqa: ASYNC110
            events.time() - began_s < (SETTLE_S if self.can_be_offered() else LISTED_S)
        ):
            await asyncio.sleep(0.05)

    def can_be_offered(self) -> bool:
        """Whether a model is not offered yet of which Serve has told a replica."""
        missing = [offer for offer in self.offers if offer.name not in self.models]
        keys = [(offer.name, variant.name) for offer in missing for variant in offer.variants]
        return any(listed(self.handles[key].deployment_name) for key in keys)

    async def connect(self, offer: Offer) -> None:
        """Waits for a replica of the model, which knows how long a context it was given, and offers the model."""
        while True:
            try:
                path = await asyncio.to_thread(base_path, offer.files)  # while the replicas start
                told = await self.first_described(offer)
                model = await asyncio.to_thread(served, offer, path, told["max_model_len"], self.replicas)
                model = watched(model, offer.drift, self.drift)
                model.router.wake = partial(self.wake, offer.name)
                self.watches.append(LoadWatch(model.router, partial(self.loads, offer.name)))
                await self.heard(model)
                self.models[offer.name] = model
                for name in [one.name for one in self.offers if one.name in self.models]:
                    self.models[name] = self.models.pop(name)  # in the configuration's order, whoever came first
                # What is here now stays: looking through all of it again and again would stop every request meanwhile.
                gc.collect()
                gc.freeze()
                return
            except Exception as error:
                log.warning("%s cannot be offered yet: %s", offer.name, error)
                await asyncio.sleep(RETRY_S)

    async def first_described(self, offer: Offer) -> dict[str, Any]:
        """What the first replica that answers tells of itself. Variants that may sleep are not asked: it would wake
        them."""
        always = [one.name for one in offer.variants if not one.may_sleep] or [one.name for one in offer.variants]
        while True:
            asked = [asyncio.ensure_future(self.describe(offer.name, variant)) for variant in always]
            try:
                for answer in asyncio.as_completed(asked, timeout=DESCRIBE_TIMEOUT_S):
                    with contextlib.suppress(RayError, RayServeException):
                        return await answer
                raise EngineFailed("no replica answers")
            except TimeoutError:
                log.debug("no replica of %s answers yet; they are asked again", offer.name)
            finally:
                for task in asked:
                    task.cancel()

    async def describe(self, model: str, variant: str) -> dict[str, Any]:
        """What a replica of the variant tells of itself. Being cancelled takes the question back."""
        response = self.handles[model, variant].describe.remote()
        try:
            return dict(await response)
        except asyncio.CancelledError:
            response.cancel()  # or it would wait for a replica for ever, and count as load
            raise

    async def heard(self, model: ServedModel) -> None:
        """Waits until it is known which variants answer, for a short time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ASK_TIMEOUT_S):
                while not any(variant.state == "ready" for variant in model.router.variants):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    async def loads(self, model: str, variant: str, turned_away_per_s: float) -> list[Load] | None:
        """What a variant's replicas tell of their load: none where it has no replica, None where none answered in
        time."""
        key = model, variant
        found: list[Load] | None = await answers(
            self.handles[key], "load", self.name, turned_away_per_s, timeout_s=LOAD_TIMEOUT_S
        )
        self.presence.heard(key, [load.replica for load in found or ()])
        return found

    async def doorways(self, key: Key) -> Collection[Doorway]:
        """Where a variant's replicas take calls."""
        return await answers(self.handles[key], "doorway", timeout_s=LOAD_TIMEOUT_S) or ()

    async def who_is_here(self, key: Key) -> Collection[str]:
        """The names of a variant's replicas that give a sign of life."""
        return await answers(self.handles[key], "here", timeout_s=LOAD_TIMEOUT_S) or ()

    def hear(self, model: str, variant: str, load: Load) -> None:
        """Takes a replica's load that came with an answer."""
        if model in self.models:
            self.models[model].router.hear_one(variant, load)

    def resumed(self, model: str, variant: str, cause: Cause) -> None:
        """Counts a stream that goes on at another replica."""
        if model in self.models:
            self.models[model].router.resumptions[variant, cause] += 1

    def wake(self, model: str, variant: str) -> None:
        """Has a sleeping variant start: a call that waits for a replica is what makes one."""
        if (model, variant) not in self.waking:
            task = asyncio.get_running_loop().create_task(self.call_awake(model, variant))
            self.waking[model, variant] = task
            task.add_done_callback(lambda _: self.waking.pop((model, variant)))

    async def call_awake(self, model: str, variant: str) -> None:
        with contextlib.suppress(TimeoutError, RayError, RayServeException):
            async with asyncio.timeout(WAKE_TIMEOUT_S):
                await self.describe(model, variant)
                log.info("%s:%s was woken", model, variant)

    async def metrics_sources(self) -> list[str]:
        """The expositions of all replicas that answer, and of the other front doors: a proxy may ask any of them."""
        asked = (self.ask(key, "exposition") for key in self.handles)
        others, *found = await asyncio.gather(self.other_front_doors(), *asked)
        return [text for texts in (others, *found) for text in texts]

    async def other_front_doors(self) -> list[str]:
        """Their own metrics."""
        return list(await self.ask_others("own_metrics"))

    async def other_trails(self, question: Query | str) -> Sequence[list[dict[str, Any]]]:
        """What they tell of their requests."""
        return await self.ask_others("own_trail", question)

    async def ask_others(self, method: str, *arguments: Any) -> Sequence[Any]:
        """What the other front doors answer, each with its name before it."""
        if not self.several:
            return ()
        context = serve.get_replica_context()
        handle = serve.get_deployment_handle(context.deployment, context.app_name)
        found = await answers(handle, method, *arguments, timeout_s=ASK_TIMEOUT_S)
        return [answer for name, answer in found or () if name != self.name]

    async def own_metrics(self) -> tuple[str, str]:
        """This front door's name, and what it measured itself. Another one asks."""
        if self.registry is None:
            return self.name, ""
        return self.name, await asyncio.to_thread(page_of, self.registry, self.metrics_labels())

    async def own_trail(self, question: Query | str) -> tuple[str, list[dict[str, Any]]]:
        """This front door's name, and what it knows of its own requests. Another one asks."""
        return self.name, [] if self.ring is None else told_of(self.ring, question)

    def metrics_labels(self) -> dict[str, str]:
        """What tells its own series from other front doors'. Added up, a counter would fall when one of them ends."""
        return {"front_door": self.name} if self.several else {}

    async def status(self) -> dict[str, Any]:
        """`GET /status`: models, their variants, and the replicas of each."""
        keys = list(self.handles)
        found = dict(zip(keys, await asyncio.gather(*(self.ask(key, "describe") for key in keys)), strict=True))
        return {
            "models": [
                {
                    "name": offer.name,
                    "task": offer.task,
                    "variants": [
                        {
                            "name": variant.name,
                            "state": self.state(offer.name, variant, found[offer.name, variant.name]),
                            "replicas": found[offer.name, variant.name],
                        }
                        for variant in offer.variants
                    ],
                }
                for offer in self.offers
            ]
        }

    def state(self, model: str, variant: OfferedVariant, replicas: Sequence[Mapping[str, Any]]) -> str:
        """ "ready" when one of its replicas is; without any, what the router takes it for."""
        states = [replica["state"] for replica in replicas]
        if states:
            return "ready" if "ready" in states else str(states[0])
        known = self.models[model].router.variants if model in self.models else ()
        state = next((one.state for one in known if one.name == variant.name), "starting")
        return "starting" if state == "ready" else state

    async def ask(self, key: tuple[str, str], method: str) -> list[Any]:
        """What the replicas of one variant answer; those that do not are left out."""
        return await answers(self.handles[key], method, timeout_s=ASK_TIMEOUT_S) or []
