"""From a variant's settings to an engine whose stages run in processes of their own."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from cluster.pipeline.limits import Limits
from cluster.pipeline.pipeline import Pipeline
from cluster.pipeline.placement import Resources
from cluster.pipeline.state import StageState, layer_range
from deployments.logs import set_up_here
from deployments.provision import VariantFiles, variant_path
from deployments.settings.stages import Placement, Stages
from engine.checkpoint import Checkpoint, open_checkpoint
from engine.config import EngineConfig, compute_dtype
from engine.kernels import select_kernels
from engine.models.seq2seq import seq2seq_family_of
from engine.pipeline.costs import ModelTask, count_layers, measure_costs
from engine.pipeline.load import Config, load_stage, load_staged_engine
from engine.pipeline.message import Stage
from engine.pipeline.messenger import Messenger
from engine.pipeline.partition import Device, given_boundaries, partition
from engine.seq2seq.config import Seq2SeqConfig
from engine.steps import SteppedEngine

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cut:
    """How a replica's model is cut. `cpus` are what each stage reserves; its threads are in its engine's settings.
    `memory` in bytes bounds what each holds, where the cut is chosen by costs."""

    count: int
    balance: tuple[int, ...] | None
    placement: Placement
    cpus: float
    gpus: float
    repair_limit_s: float
    memory: int | None = None

    @classmethod
    def of(cls, stages: Stages, cpus: float) -> Cut | None:
        """None for a single stage, which is computed in the replica's own process."""
        if stages.count == 1:
            return None
        return cls(
            stages.count,
            stages.balance,
            stages.placement,
            cpus,
            stages.num_gpus,
            stages.repair_limit_s,
            stages.memory,
        )


def load_pipelined(task: ModelTask, files: VariantFiles, config: Config, cut: Cut) -> SteppedEngine[Any, Any, Any, Any]:
    """Starts the stages and returns the engine that drives them; closing it ends them. Raises SourceError,
    CheckpointError, ConfigError and EngineFailed."""
    path = variant_path(files)
    pipeline = start_pipeline(task, path, files, config, cut)
    try:
        return load_staged_engine(task, path, config, pipeline)
    except BaseException:
        pipeline.close()
        raise


def start_pipeline(task: ModelTask, path: Path, files: VariantFiles, config: Config, cut: Cut) -> Pipeline:
    """The stages alone, in the placement group that this process is in, or in one of their own. `path` is where the
    files are here; each stage is loaded from those on its own node."""
    bounds = boundaries(task, path, config, cut)
    log.info("%s: stages begin at layers %s", path, ", ".join(map(str, bounds[:-1])))
    return Pipeline(
        [partial(load_stage_here, task, files, config, first, last) for first, last in pairwise(bounds)],
        labels=[layer_range(first, last) for first, last in pairwise(bounds)],
        threads=config.threads,
        resources=Resources(cut.cpus, cut.gpus),
        strategy=cut.placement,
        limits=Limits(repair_s=cut.repair_limit_s),
        supply=partial(variant_path, files),
    )


def load_stage_here(task: ModelTask, files: VariantFiles, config: Config, first: int, last: int) -> Stage:
    """Layers `first` to `last` - 1, in the stage's own process. Raises what `variant_path` and `load_stage` raise."""
    set_up_here(f"stage:{layer_range(first, last)}")
    return load_stage(task, variant_path(files), config, first, last)


def boundaries(task: ModelTask, path: Path, config: Config, cut: Cut) -> tuple[int, ...]:
    """Where stages begin, and the end: as given, or by what the layers cost here."""
    with open_checkpoint(path) as checkpoint:
        if cut.balance is not None:
            return given_boundaries(cut.balance, count_layers(checkpoint, task), cut.count)
        kernels = select_kernels(config.device, compute_dtype(config.precision))
        costs = measure_costs(checkpoint, task, kernels, config.threads)
        costs = costs.with_caches(layer_caches(checkpoint, task, config))
    return partition(costs, [Device(memory=cut.memory)] * cut.count)


def layer_caches(checkpoint: Checkpoint, task: ModelTask, config: Config) -> list[int]:
    """The bytes that each layer's cache may take. Of an encoder-decoder's layers the decoder's have one, an encoder's
    have none."""
    layers = count_layers(checkpoint, task)
    match config:
        case EngineConfig():
            return [config.kv_cache_bytes // layers] * layers
        case Seq2SeqConfig():
            both = seq2seq_family_of(checkpoint.config).architecture(checkpoint.config)
            below = both.decoder.num_layers
            return [0] * both.encoder.num_layers + [config.cache_bytes // below] * below
    return [0] * layers


def pipeline_of(engine: object) -> Pipeline | None:
    """What computes for an engine elsewhere; None where it computes by itself."""
    runner = getattr(engine, "runner", None)
    pipeline = runner.pipeline if isinstance(runner, Messenger) else None
    return pipeline if isinstance(pipeline, Pipeline) else None


def stages_of(engine: object) -> list[StageState]:
    """What its stages do; none where it computes by itself."""
    pipeline = pipeline_of(engine)
    return [] if pipeline is None else pipeline.stages()
