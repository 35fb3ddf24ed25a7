"""A pipeline with its engine, as a contender: `python -m deployments.bench.worker pipeline PATH OPTIONS`.

Options are `cut` (see `deployments.pipelines.Cut`), `engine` (an `EngineConfig`), and the `address` of a cluster to
join; without one it starts a node of its own.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch

from cluster.node import joined_cluster, local_node, node_temp_dir
from deployments.bench.generate import run_engine
from deployments.pipelines import Cut, start_pipeline
from deployments.provision import VariantFiles
from deployments.serving import local_environment
from engine.config import EngineConfig
from engine.engine import Engine
from engine.pipeline.load import load_staged_engine

Command = Callable[[dict[str, Any]], dict[str, Any]]
TASK: Final = "text-generation"


def pipeline_worker(path: Path, options: dict[str, Any]) -> tuple[Command, dict[str, Any]]:
    """Answers the commands of the `engine` worker, `{"trace": true}` to begin a trace, and `{"trace": false}` with what
    was traced."""
    stack = ExitStack()
    atexit.register(stack.close)
    if options["address"] is None:
        folder = stack.enter_context(node_temp_dir())
        stack.enter_context(local_node(local_environment(folder), folder))
    else:
        stack.enter_context(joined_cluster(options["address"], {}))
    torch.set_num_threads(1)
    config = EngineConfig(**options["engine"])
    pipeline = start_pipeline(TASK, path, VariantFiles.at(path), config, Cut(**options["cut"]))
    stack.callback(pipeline.close)
    engine = load_staged_engine(TASK, path, config, pipeline)
    assert isinstance(engine, Engine)

    def run(command: dict[str, Any]) -> dict[str, Any]:
        if "trace" not in command:
            return run_engine(engine, command)
        if command["trace"]:
            pipeline.trace(on=True)
            return {}
        pipeline.trace(on=False)
        traces = [[asdict(batch) for batch in stage] for stage in pipeline.take_trace()]
        return {"traces": traces, "stages": [asdict(stage) for stage in pipeline.stages()]}

    return run, {}
