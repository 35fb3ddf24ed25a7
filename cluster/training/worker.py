"""One worker's whole training; the same function runs alone in a process and in Ray Train's workers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from filelock import FileLock, Timeout

from cluster.training.finish import About, finish
from cluster.training.loop import Loop
from cluster.training.origin import origin
from cluster.training.recipe import Cadence, RunFolder
from cluster.training.task import Task
from cluster.training.world import World
from engine.errors import EngineFailed

_LAST_WRITER_S = 120.0


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker is told."""

    task: Task
    run: RunFolder
    cadence: Cadence = field(default_factory=Cadence)
    about: About = field(default_factory=About)
    threads: int = 1


def train(job: Job, world: World) -> dict[str, float]:
    """Train to the end, or from the last checkpoint to the end. The first worker's quality figures; {} elsewhere."""
    torch.set_num_threads(job.threads)
    _be_quiet()
    task, run, made_with = job.task, job.run, origin()
    with ExitStack() as stack:
        if world.first:
            run.path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_only_writer(run))
            task.prepare(run, world.device)
        return _train(job, world, made_with)


def _train(job: Job, world: World, made_with: Mapping[str, Any]) -> dict[str, float]:
    task, run = job.task, job.run
    world.wait()
    prepared = task.setup(run)
    identity = task.identity()
    loop = Loop(prepared, task.recipe, identity, run, job.cadence, world)
    position = loop.run()
    if not world.first:
        return {}
    prepared.model.to("cpu")
    return finish(task, prepared, run, identity, position, job.about, made_with)


def ray_worker(job: Job) -> None:
    """What Ray Train runs in each worker's process. Reports once, at the end: a report takes seconds."""
    from ray import train as ray_train
    from ray.train.torch import get_device

    context = ray_train.get_context()
    device = get_device()
    quality = train(job, World(context.get_world_rank(), context.get_world_size(), device))
    ray_train.report(quality)


@contextmanager
def _only_writer(run: RunFolder) -> Iterator[None]:
    """One worker at a time. A worker of a killed training may live on for seconds: that is waited for."""
    lock = FileLock(run.path / ".writing")
    try:
        lock.acquire(timeout=_LAST_WRITER_S)
    except Timeout:
        raise EngineFailed(f"Another worker is still writing into {run.path}. End it, then try again.") from None
    try:
        yield
    finally:
        lock.release()


def _be_quiet() -> None:
    """No bars and hints of `transformers` between the lines of ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    # Marian's tokenizer recommends a package that normalizes punctuation, and uses it nowhere.
    warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
