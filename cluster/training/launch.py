"""Starts a training on Ray Train: its workers on a node of our own, or on a running cluster."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.node import RayNode, free_ports
from cluster.training.recipe import RunFolder
from cluster.training.worker import Job, ray_worker
from engine.errors import ConfigError, EngineFailed, StagelineError

# Rank 0 prepares and evaluates alone while the others wait in a collective call.
_COLLECTIVE_TIMEOUT_S = 6 * 3600


def environment() -> dict[str, str]:
    """Variables of the node and its workers: no statistics sent, no ports of other nodes, no low priority."""
    autoscaler, dashboard = free_ports(2)
    return {
        "AUTOSCALER_METRIC_PORT": str(autoscaler),
        "DASHBOARD_METRIC_PORT": str(dashboard),
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_V2_ENABLED": "1",
        "RAY_TRAIN_METRICS_ENABLED": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


def run_on(node: RayNode, job: Job, *, workers: int) -> None:
    """Train with `workers` workers of `job.threads` cores each, on GPUs where the cluster has enough of them.

    Raises the workers' own `StagelineError`, `ConfigError` when the cluster is too small, `EngineFailed` otherwise.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    logging.getLogger("ray.train").setLevel(logging.ERROR)
    need = workers * job.threads
    if need > node.cores:
        raise ConfigError(
            f"{workers} workers with {job.threads} threads each need {need} cores, there are {node.cores}. Choose "
            "fewer with --workers or --threads-per-worker.",
            param="workers",
        )
    gpus = int(ray.cluster_resources().get("GPU", 0)) >= workers
    trainer = TorchTrainer(
        _entry,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=_COLLECTIVE_TIMEOUT_S),
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=gpus, resources_per_worker=_resources(job.threads, gpu=gpus)
        ),
        run_config=RunConfig(
            name="ray-train", storage_path=str(job.run.path.resolve()), failure_config=FailureConfig(max_failures=0)
        ),
    )
    try:
        trainer.fit()
    except Exception as error:
        raise _told(error) from error


def finished(run: RunFolder) -> dict[str, Any]:
    """The summary that the first worker left. Raises `EngineFailed` where there is none."""
    try:
        summary: dict[str, Any] = json.loads(run.summary.read_text(encoding="utf-8"))
    except OSError as error:
        raise EngineFailed(
            f"Training ended, but {run.summary} is not there: is {run.path} on a disk that all nodes share?"
        ) from error
    return summary


def _entry(config: dict[str, Any]) -> None:
    ray_worker(config["job"])


def _resources(threads: int, *, gpu: bool) -> dict[str, float]:
    return {"CPU": threads, **({"GPU": 1} if gpu else {})}


def _told(error: Exception) -> StagelineError:
    """The error that a worker raised on purpose, out of Ray's wrappings."""
    for inner in _causes(error):
        if isinstance(inner, StagelineError):
            return inner
    return EngineFailed(f"Training failed: {error}. The same command goes on from the last checkpoint.")


def _causes(error: BaseException) -> Iterator[BaseException]:
    pending: list[BaseException] = [error]
    while pending:
        current = pending.pop()
        yield current
        failures = getattr(current, "worker_failures", None) or {}
        pending += [failure for failure in failures.values() if isinstance(failure, BaseException)]
        inner = [current.__cause__, getattr(current, "cause", None), getattr(current, "controller_failure", None)]
        pending += [cause for cause in inner if isinstance(cause, BaseException)]


def clear_ray_files(run: RunFolder) -> None:
    """Delete what Ray Train keeps for itself in the run's folder; checkpoints and results are elsewhere."""
    import shutil

    with contextlib.suppress(OSError):
        shutil.rmtree(Path(run.path) / "ray-train")
