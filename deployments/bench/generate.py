"""The same work for every engine that generates text in process."""

from __future__ import annotations

import time
from typing import Any

from engine.engine import Engine
from engine.request import Request, SamplingParams

PROMPT = (504, 3575, 282, 4649, 314)  # five tokens of any text


def run_engine(engine: Engine, command: dict[str, Any]) -> dict[str, Any]:
    """Generates `tokens` for `streams` prompts of `prompt` tokens at once."""
    prompt = (PROMPT * (command["prompt"] // len(PROMPT) + 1))[: command["prompt"]]
    sampling = SamplingParams(max_tokens=command["tokens"], temperature=0, ignore_eos=True)
    started = time.perf_counter()
    for i in range(command["streams"]):
        # Different first tokens, or the prefix cache would compute them all at once.
        engine.add(Request(f"{started}-{i}", (1000 + i, *prompt[1:]), sampling, arrival_s=time.time()))
    first = generated = 0
    first_s = 0.0
    while not engine.idle:
        for _, delta in engine.step():
            generated += len(delta.tokens)
            first += bool(delta.tokens and not first_s)
        first_s = first_s or (time.perf_counter() - started if first else 0.0)
    seconds = time.perf_counter() - started
    engine.blocks.forget()  # the next run starts as cold as this one
    return {"seconds": seconds, "tokens": generated, "first_s": first_s}
