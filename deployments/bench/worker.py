"""A contender's process: `python -m deployments.bench.worker KIND PATH OPTIONS`.

It loads the model, then answers each line of JSON on its input with one on its output. Idle in between, it leaves the
cores to the next contender.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from deployments.bench.encoder_worker import encoder_worker
from deployments.bench.generate import PROMPT, run_engine
from deployments.bench.pipeline.worker import pipeline_worker
from deployments.bench.translator_worker import translator_worker
from deployments.preflight import weight_bytes
from engine.checkpoint import open_checkpoint
from engine.config import EngineConfig
from engine.load import load_layers, make_engine
from engine.pipeline.runner import LocalRunner

Command = Callable[[dict[str, Any]], dict[str, Any]]


def peak_bytes() -> int:
    """The most memory that this process has had resident."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def engine_worker(path: Path, options: dict[str, Any]) -> tuple[Command, dict[str, Any]]:
    """Stageline's engine without Ray or HTTP."""
    torch.set_num_threads(options["threads"])
    before = peak_bytes()
    started = time.perf_counter()
    config = EngineConfig(**options)
    with open_checkpoint(path) as checkpoint:
        layers = load_layers(checkpoint, config)
        engine = make_engine(checkpoint, config, LocalRunner(layers.compute))
    load_s = time.perf_counter() - started
    weights = weight_bytes(path, options["precision"])
    facts = {
        "load_s": load_s,
        "kernels": layers.decoder.kernels.name,
        "weight_bytes": weights,
        "kv_cache_bytes": layers.cache_bytes,
        "peak_bytes_above_start": peak_bytes() - before,
        # The cache takes none until it is used.
        "weight_copies_at_peak": (peak_bytes() - before) / weights,
    }
    return lambda command: run_engine(engine, command), facts


def transformers_worker(path: Path, options: dict[str, Any]) -> tuple[Command, dict[str, Any]]:
    """transformers in fp32, one request at a time: what somebody would write first."""
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(options["threads"])
    where = (
        {"gguf_file": path.name, "pretrained_model_name_or_path": path.parent}
        if path.is_file()
        else {"pretrained_model_name_or_path": path}
    )
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()

    def run(command: dict[str, Any]) -> dict[str, Any]:
        tokens = command["tokens"]
        prompt = torch.tensor([(PROMPT * (command["prompt"] // len(PROMPT) + 1))[: command["prompt"]]])
        started = time.perf_counter()
        with torch.inference_mode():
            out = model.generate(prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
        return {"seconds": time.perf_counter() - started, "tokens": out.shape[1] - prompt.shape[1]}

    return run, {}


KINDS = {
    "engine": engine_worker,
    "pipeline": pipeline_worker,
    "encoder": encoder_worker,
    "translator": translator_worker,
    "transformers": transformers_worker,
}


def main() -> None:
    kind, path, options = sys.argv[1:]
    # Libraries print; the answers go to the real output alone.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    command, facts = KINDS[kind](Path(path), json.loads(options))
    print(json.dumps(facts), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(command(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
