"""The translator's engine in a contender's process: sentences as token ids."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from engine.checkpoint import open_checkpoint
from engine.seq2seq.config import Seq2SeqConfig
from engine.seq2seq.engine import Seq2SeqEngine
from engine.seq2seq.load import load_seq2seq_engine
from engine.seq2seq.request import TranslateRequest
from engine.text.translation_defaults import read_defaults

Command = Callable[[dict[str, Any]], dict[str, Any]]


def translator_worker(path: Path, options: dict[str, Any]) -> tuple[Command, dict[str, Any]]:
    """`texts` with `batch` sentences at work at a time, of `beams` each, at most `tokens` long. With `continuous` a new
    one joins for each that is done; without, the next batch begins when the last of one is done."""
    torch.set_num_threads(options["threads"])
    before = time.perf_counter()
    engine = load_seq2seq_engine(path, Seq2SeqConfig(**options))
    load_s = time.perf_counter() - before
    with open_checkpoint(path) as checkpoint:
        defaults = read_defaults(checkpoint, (), engine.limits.max_new_tokens)

    def run(command: dict[str, Any]) -> dict[str, Any]:
        decoding = replace(defaults, max_tokens=command["tokens"], beams=command["beams"])
        texts, size = command["texts"], command["batch"]
        started = time.perf_counter()
        requests = [TranslateRequest(str(i), tuple(text), decoding) for i, text in enumerate(texts)]
        if command.get("continuous"):
            out = _continuous(engine, requests, size)
        else:
            out = {}
            for at in range(0, len(requests), size):
                out |= _continuous(engine, requests[at : at + size], size)
        return {"seconds": time.perf_counter() - started, "out": [out[request.id] for request in requests]}

    return run, {"load_s": load_s, "kernels": engine.kernels}


def _continuous(engine: Seq2SeqEngine, requests: list[TranslateRequest], size: int) -> dict[str, list[int]]:
    waiting = iter(requests)
    out: dict[str, list[int]] = {}
    while len(out) < len(requests):
        while len(engine.requests) < size and (request := next(waiting, None)) is not None:
            engine.prepare(request)
            engine.add(request)
        for name, result in engine.step():
            if result.error is not None:
                raise result.error
            out[name] = list(result.hypotheses[0].tokens)
    return out
