"""The process in which grammars are tried before the engine's own process touches them.

The compiler is native code that some inputs crash, and others keep busy for minutes. Here that costs only this
process: the kernel ends it when it takes too long. It exits by itself when its input closes or nothing comes for a
while. Messages, both ways: a length of 8 bytes, then that many bytes of UTF-8.
"""

from __future__ import annotations

import json
import os
import random
import resource
import select
import signal
import threading
import time
from pathlib import Path
from typing import IO, Any

READY = "ready"  # the first message, once the tokenizer is read
_IDLE_S = 60.0
_START_S = 60.0  # importing; on a loaded machine
_STEPS = 32  # tokens of the trial walk through a grammar
_STACK_BYTES = 512 << 10  # far less than the engine's threads have, so that what passes here does not overflow there


def write_message(stream: IO[bytes], text: str) -> None:
    data = text.encode()
    stream.write(len(data).to_bytes(8, "big") + data)
    stream.flush()


def read_message(stream: IO[bytes]) -> str | None:
    """The next message; None at the end of the stream."""
    head = _read(stream, 8)
    data = None if head is None else _read(stream, int.from_bytes(head, "big"))
    return None if data is None else data.decode()


def _read(stream: IO[bytes], size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        part = stream.read(size - len(data))
        if not part:
            return None
        data += part
    return bytes(data)


def main() -> None:
    """Serve until there is nothing more to do, and leave at once: this process has nothing to tidy up."""
    serve()
    os._exit(0)


def serve() -> None:
    """Read the tokenizer, then grammars to try: {kind, source, cpu_s, memory_bytes, step_s} -> {error}."""
    for kind in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(kind, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, _START_S)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests = os.fdopen(0, "rb", buffering=0)  # a buffer would hide messages from select
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the library prints must not get between the replies
    import xgrammar

    tokenizer = read_message(requests)
    if tokenizer is None:
        return
    info = xgrammar.TokenizerInfo.deserialize_json(tokenizer)
    threading.stack_size(_STACK_BYTES)
    write_message(replies, READY)
    while True:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if not select.select([requests], [], [], _IDLE_S)[0]:
            return
        message = read_message(requests)
        if message is None:
            return
        request = json.loads(message)
        signal.setitimer(signal.ITIMER_PROF, request["cpu_s"])
        signal.setitimer(signal.ITIMER_REAL, 10 * request["cpu_s"])
        outcome: list[str | None] = []
        trial = threading.Thread(target=lambda: outcome.append(_try(info, request)))  # noqa: B023 - joined at once
        trial.start()
        trial.join()
        signal.setitimer(signal.ITIMER_PROF, 0)
        write_message(replies, json.dumps({"error": outcome[0]}))


def _try(info: Any, request: dict[str, Any]) -> str | None:
    """What is wrong with a grammar; None if nothing is."""
    import xgrammar

    from engine.sampling.grammar import compile_spec

    _limit_memory(request["memory_bytes"])
    try:
        compiled = compile_spec(xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False), request)
        return _walk(xgrammar, compiled, info.vocab_size, request["step_s"])
    except MemoryError:
        return "it needs too much memory"
    except Exception as error:  # of whatever kind: each is this grammar's answer
        return "it needs too much memory" if "bad_alloc" in str(error) else str(error)


def _walk(xgrammar: Any, compiled: Any, vocabulary: int, step_s: float) -> str | None:
    """Follow the grammar along random tokens: that it allows any, and that it does so fast enough."""
    import numpy as np

    mask = xgrammar.allocate_token_bitmask(1, vocabulary)
    bits = mask.numpy().view(np.uint8)[0]
    stops = set(compiled.tokenizer_info.stop_token_ids)
    chance = random.Random(0)
    matcher = xgrammar.GrammarMatcher(compiled)
    started = time.process_time()
    for step in range(_STEPS):
        matcher.fill_next_token_bitmask(mask)
        allowed = np.flatnonzero(np.unpackbits(bits, bitorder="little")[:vocabulary])
        if step == 0 and not len(allowed) and not matcher.is_completed():
            return "no text matches it"
        token = int(allowed[chance.randrange(len(allowed))]) if len(allowed) else None
        if token is None or token in stops or not matcher.accept_token(token):
            matcher = xgrammar.GrammarMatcher(compiled)
    took_s = (time.process_time() - started) / _STEPS
    if took_s > step_s:
        return f"following it takes {took_s * 1e3:.3g} ms a token, more than {step_s * 1e3:.3g} ms; make it simpler"
    return None


def _limit_memory(more_bytes: int) -> None:
    status = Path("/proc/self/statm")
    if not status.exists():  # not Linux: the limit on time must do
        return
    used = int(status.read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = used + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
