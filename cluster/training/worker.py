"""One worker's whole training; the same function runs alone in a process and in Ray Train's workers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import torch

from cluster.training.finish import About, finish
from cluster.training.loop import Loop
from cluster.training.origin import origin
from cluster.training.recipe import Cadence, RunFolder
from cluster.training.task import Task
from cluster.training.world import World


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
    if world.first:
        run.path.mkdir(parents=True, exist_ok=True)
        task.prepare(run, world.device)
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


def _be_quiet() -> None:
    """No bars and hints of `transformers` between the lines of ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    # Marian's tokenizer recommends a package that normalizes punctuation, and uses it nowhere.
    warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
