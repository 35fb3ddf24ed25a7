"""The encoder's engine in a contender's process: texts as token ids, classified or embedded."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.encoder.config import EncoderConfig
from engine.encoder.load import load_encoder_engine
from engine.encoder.request import EncodeRequest
from engine.steps import run_all

Command = Callable[[dict[str, Any]], dict[str, Any]]


def encoder_worker(path: Path, options: dict[str, Any]) -> tuple[Command, dict[str, Any]]:
    """`texts` in batches of `batch`; with `padded` each is filled up to the longest of its batch first, as engines do
    that cannot pack. `out` are the classes, or the first values of the embeddings."""
    import torch

    settings = dict(options)
    task = settings.pop("task")
    torch.set_num_threads(settings["threads"])
    before = time.perf_counter()
    engine = load_encoder_engine(path, EncoderConfig(**settings), task)
    load_s = time.perf_counter() - before

    def run(command: dict[str, Any]) -> dict[str, Any]:
        size, padded = command["batch"], command.get("padded", False)
        started = time.perf_counter()
        out: list[float] = []
        for at in range(0, len(command["texts"]), size):
            texts = command["texts"][at : at + size]
            if padded:
                longest = max(len(text) for text in texts)
                texts = [text + [0] * (longest - len(text)) for text in texts]
            found = run_all(engine, [EncodeRequest(str(i), tuple(text)) for i, text in enumerate(texts)])
            values = [result.values for result in found if result.values is not None]
            out += [int(np.argmax(v)) if task == "text-classification" else float(v[0]) for v in values]
        return {"seconds": time.perf_counter() - started, "out": out}

    return run, {"load_s": load_s, "kernels": engine.kernels}
