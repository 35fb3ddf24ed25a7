"""The front door as a Serve ingress: connects `front_door/` to the replicas' handles."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.front_door.app import create_app
from deployments.front_door.served_models import ServedModel
from deployments.front_door.service import Limits, Service
from deployments.offers import Offer, served

log = logging.getLogger(__name__)

ASK_TIMEOUT_S = 2.0  # for what replicas tell of themselves; a busy or dying one must not hold up /status and /metrics
RETRY_S = 1.0


class Ingress:
    """`handles` by (model, variant). A model appears as soon as a replica of each of its variants answers."""

    def __init__(
        self, offers: Sequence[Offer], handles: dict[tuple[str, str], DeploymentHandle[Any]], max_body_bytes: int
    ) -> None:
        self.offers = tuple(offers)
        self.handles = handles
        self.max_body_bytes = max_body_bytes
        self.models: dict[str, ServedModel] = {}
        self.connecting: list[asyncio.Task[None]] = []

    def __serve_build_asgi_app__(self) -> FastAPI:
        service = Service(
            models=self.models,
            ready=self.ready,
            metrics_sources=self.metrics_sources,
            status=self.status,
            version=version("stageline"),
            limits=Limits(max_body_bytes=self.max_body_bytes),
        )
        events = asyncio.get_running_loop()
        self.connecting = [events.create_task(self.connect(offer)) for offer in self.offers]
        return create_app(service)

    def ready(self) -> bool:
        """Whether every model can answer."""
        return len(self.models) == len(self.offers)

    async def connect(self, offer: Offer) -> None:
        """Waits for the model's replicas, which know how long a context they were given, and offers the model."""
        while True:
            try:
                told = [await self.handles[offer.name, variant].describe.remote() for variant in offer.variants]
                shortest = min(one["max_model_len"] for one in told)
                self.models[offer.name] = await asyncio.to_thread(served, offer, shortest, self.handles)
                for name in [one.name for one in self.offers if one.name in self.models]:
                    self.models[name] = self.models.pop(name)  # in the configuration's order, whoever came first
                # What is here now stays: looking through all of it again and again would stop every request meanwhile.
                gc.collect()
                gc.freeze()
                return
            except Exception as error:
                log.warning("%s cannot be offered yet: %s", offer.name, error)
                await asyncio.sleep(RETRY_S)

    async def metrics_sources(self) -> list[str]:
        """The expositions of all replicas that answer."""
        asked = (self.ask(key, "exposition") for key in self.handles)
        return [text for found in await asyncio.gather(*asked) for text in found]

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
                            "name": variant,
                            "state": state_of(found[offer.name, variant]),
                            "replicas": found[offer.name, variant],
                        }
                        for variant in offer.variants
                    ],
                }
                for offer in self.offers
            ]
        }

    async def ask(self, key: tuple[str, str], method: str) -> list[Any]:
        """What the replicas of one variant answer; those that do not are left out."""
        with contextlib.suppress(TimeoutError, RayError, RayServeException):
            answers = (
                await self.handles[key].broadcast(method).results_async(timeout_s=ASK_TIMEOUT_S, return_exceptions=True)
            )
            return [answer for answer in answers if not isinstance(answer, BaseException)]
        return []


def state_of(replicas: Sequence[Mapping[str, Any]]) -> str:
    """A variant's state from what its replicas tell: "ready" when one of them is; "starting" when none answers."""
    states = [replica["state"] for replica in replicas]
    return "ready" if "ready" in states else states[0] if states else "starting"
