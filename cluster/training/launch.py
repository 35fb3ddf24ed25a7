"""Starts a training on Ray Train: its workers on a node of our own, or on a running cluster."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

from cluster.node import RayNode, free_ports
from cluster.training.recipe import RunFolder
from cluster.training.worker import Job, ray_worker
from engine.errors import ConfigError, EngineFailed, StagelineError

# Rank 0 prepares and evaluates alone while the others wait in a collective call.
_COLLECTIVE_TIMEOUT_S = 6 * 3600
_WATCH_S = 0.5
_RAY_FOLDER = "ray-train"


def environment() -> dict[str, str]:
    """Variables of the node and its workers: no statistics sent, no ports of other nodes, no low priority."""
    autoscaler, dashboard = free_ports(2)
    return {
        "AUTOSCALER_METRIC_PORT": str(autoscaler),
        "DASHBOARD_METRIC_PORT": str(dashboard),
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_V2_ENABLED": "1",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_TRAIN_METRICS_ENABLED": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


def run_on(node: RayNode, job: Job, *, workers: int, watch: Callable[[], None] = lambda: None) -> None:
    """Train with `workers` workers of `job.threads` cores each, on GPUs where the cluster has one for each.

    `watch` is called about twice a second meanwhile. Raises the workers' own `StagelineError`, `ConfigError` when the
    cluster is too small, `EngineFailed` otherwise.
    """
    trainer = _trainer(node, job, workers)
    failures: list[Exception] = []

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as error:
            failures.append(error)

    # Not in the main thread: there Ray Train takes Ctrl-C for itself, and waits on.
    thread = threading.Thread(target=fit, daemon=True, name="ray-train")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_WATCH_S)
            node.check()
            watch()
    finally:
        shutil.rmtree(job.run.path / _RAY_FOLDER, ignore_errors=True)  # Ray Train's own notes, of no use afterwards
    if failures:
        raise as_stageline_error(failures[0]) from failures[0]


def _trainer(node: RayNode, job: Job, workers: int) -> Any:
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
    return TorchTrainer(
        _entry,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=_COLLECTIVE_TIMEOUT_S),
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=gpus, resources_per_worker=_resources(job.threads, gpu=gpus)
        ),
        run_config=RunConfig(
            name=_RAY_FOLDER, storage_path=str(job.run.path.resolve()), failure_config=FailureConfig(max_failures=0)
        ),
    )


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


def as_stageline_error(error: Exception) -> StagelineError:
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
