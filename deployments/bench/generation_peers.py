"""Peers that generate from a GGUF file, see `peers.py`: greedy, whatever the model thinks of ending.

A command is {streams, prompt, tokens}: so many prompts of so many tokens at once, no two alike, so many tokens each.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Command = Callable[[dict[str, Any]], dict[str, Any]]
Entry = tuple[int, int, int, bool]  # token, position, sequence, whether its logits are wanted

BATCH = 512  # tokens of a step, as Stageline's default
ROOM = 256  # tokens that a context's length is a multiple of
CACHE_GIB = 2


def prompts(count: int, length: int) -> list[list[int]]:
    return [[1000 + i, *(500 + j % 97 for j in range(length - 1))] for i in range(count)]


def llama_cpp(path: Path, options: dict[str, Any]) -> tuple[Command, dict[str, Any]]:
    """llama.cpp through its C interface, all streams in one batch; the best token is looked up by numpy."""
    import llama_cpp as llama

    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
    if not model:
        raise RuntimeError(f"llama.cpp cannot read {path}")
    vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    contexts: dict[tuple[int, int], Any] = {}
    batch = llama.llama_batch_init(BATCH, 0, 1)

    def context_for(streams: int, length: int) -> Any:
        room = -(-length // ROOM) * ROOM
        if (streams, room) not in contexts:
            params = llama.llama_context_default_params()
            params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = streams * room, BATCH, BATCH, streams
            params.n_threads = params.n_threads_batch = options["threads"]
            contexts[streams, room] = llama.llama_init_from_model(model, params)
        return contexts[streams, room]

    def step(context: Any, entries: list[Entry]) -> list[int]:
        """The best tokens after the entries that want them, in order."""
        found = []
        for at in range(0, len(entries), BATCH):
            some = entries[at : at + BATCH]
            batch.n_tokens = len(some)
            for i, (token, position, sequence, wanted) in enumerate(some):
                batch.token[i], batch.pos[i], batch.logits[i] = token, position, int(wanted)
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            if llama.llama_decode(context, batch) != 0:
                raise RuntimeError("llama_decode failed")
            for i, entry in enumerate(some):
                if entry[3]:
                    logits = llama.llama_get_logits_ith(context, i)
                    found.append(int(np.ctypeslib.as_array(logits, (vocabulary,)).argmax()))
        return found

    def run(command: dict[str, Any]) -> dict[str, Any]:
        streams, length, tokens = command["streams"], command["prompt"], command["tokens"]
        context = context_for(streams, length + tokens)
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        started = time.perf_counter()
        entries = [
            (token, at, i, at == length - 1)
            for i, prompt in enumerate(prompts(streams, length))
            for at, token in enumerate(prompt)
        ]
        out = [step(context, entries)]
        first_s = time.perf_counter() - started
        for at in range(length, length + tokens - 1):
            out.append(step(context, [(token, at, i, True) for i, token in enumerate(out[-1])]))
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "first_s": first_s, "tokens": sum(map(len, out))}

    system = llama.llama_print_system_info().decode()
    return run, {"llama.cpp": llama.__version__, "computes": "the file's bits, activations in 8", "system": system}


def openvino(path: Path, options: dict[str, Any]) -> tuple[Command, dict[str, Any]]:
    """OpenVINO GenAI with continuous batching, its own defaults for precisions, no prefix cache."""
    import openvino
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.cache_size, scheduler.max_num_batched_tokens = CACHE_GIB, BATCH
    scheduler.enable_prefix_caching = False
    pipe = genai.LLMPipeline(str(path), "CPU", scheduler_config=scheduler, INFERENCE_NUM_THREADS=options["threads"])
    config = genai.GenerationConfig()
    config.ignore_eos, config.do_sample, config.apply_chat_template = True, False, False

    def run(command: dict[str, Any]) -> dict[str, Any]:
        ids = np.array(prompts(command["streams"], command["prompt"]), dtype=np.int64)
        inputs = genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        config.max_new_tokens = command["tokens"]
        started = time.perf_counter()
        out = pipe.generate(inputs, config).tokens
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "tokens": sum(map(len, out))}

    return run, {"openvino_genai": genai.__version__, "computes": "the file's bits, its defaults for the rest"}


KINDS: dict[str, Callable[[Path, dict[str, Any]], tuple[Command, dict[str, Any]]]] = {
    "llama.cpp": llama_cpp,
    "openvino": openvino,
}
