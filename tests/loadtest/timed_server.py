"""An HTTP server whose timing is known, to hold load clients against: `python -m tests.loadtest.timed_server`.

It prints its port and serves until it is ended. What it does with a request is in `behaviour.py`; it is asked for by
`--default`, in the request's `model`, or in a header `X-Timed`. A later one of these goes before an earlier.

    POST /v1/completions /v1/chat/completions /classify /v1/embeddings /translate /tokenize
    GET /v1/models /health
    GET /truth              {"requests": [...]}, in the order in which they came; see Truth
    POST /truth/clear       forgets them, and counts requests from 0 again
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import selectors
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.loadtest.behaviour import Behaviour, Stream, output_tokens, plan_stream, read_behaviour, usage

UNIX = time.time() - time.monotonic()  # constant, so that a clock that is set does not bend the times
LIMIT_S = 60.0  # no wait is longer


def now() -> float:
    """Unix time."""
    return time.monotonic() + UNIX


@dataclass(slots=True)
class Truth:
    """One request as it was; Unix times. A time is read just before the bytes are given to the system."""

    number: int
    id: str  # X-Request-Id
    path: str
    model: str
    arrived_s: float  # read whole
    begun_s: float = 0.0  # its turn: later than `arrived_s` only with `serial`
    headers_s: float | None = None
    chunk_s: float | None = None  # first event with `choices`
    events: list[tuple[float, int]] = field(default_factory=list)  # with text: when it was whole, its tokens
    end_s: float | None = None  # the answer's last bytes were sent
    left_s: float | None = None  # the client had gone before the end
    status: int = 0


class TimedServer:
    """Answers requests on one event loop."""

    def __init__(self, default: str) -> None:
        self._default = default
        self._truths: list[Truth] = []
        self._turns: dict[int, asyncio.Semaphore] = {}

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one connection, one after the other."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ", 2)
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                if read_s := read_behaviour(0, self._default, headers.get("x-timed", "")).read:
                    # What the system has taken for us already does not count: a client notices with large bodies only.
                    writer.transport.pause_reading()  # type: ignore[attr-defined]
                    await asyncio.sleep(read_s)
                    writer.transport.resume_reading()  # type: ignore[attr-defined]
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if not await self._answer(f"{method} {target}", headers, body, reader, writer):
                    break
        writer.close()

    async def _answer(
        self,
        request: str,
        headers: Mapping[str, str],
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Whether the connection lives on."""
        match request:
            case "GET /truth":
                writer.write(_whole(200, {"requests": [asdict(one) for one in self._truths]}))
            case "POST /truth/clear":
                self._truths.clear()
                writer.write(_whole(200, {}))
            case "GET /health":
                writer.write(_whole(200, {}))
            case "GET /v1/models":
                writer.write(_whole(200, {"object": "list", "data": [{"id": "timed", "object": "model"}]}))
            case "POST /tokenize":
                count = len(str(json.loads(body).get("prompt", "")).split())
                writer.write(_whole(200, {"count": count, "max_model_len": 8192, "tokens": list(range(count))}))
            case _ if request.removeprefix("POST ") in ANSWERS:
                return await self._timed(request.removeprefix("POST "), headers, json.loads(body), reader, writer)
            case _:
                writer.write(_whole(404, {"error": {"message": f"{request} is not served here", "code": 404}}))
        return True

    async def _timed(
        self,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        model = str(body.get("model", ""))
        truth = Truth(len(self._truths), headers.get("x-request-id", ""), path, model, now())
        self._truths.append(truth)
        try:
            one = read_behaviour(truth.number, self._default, model, headers.get("x-timed", ""))
        except (TypeError, ValueError) as error:
            writer.write(_whole(400, {"error": {"message": str(error), "code": 400}}))
            return True
        turn = self._turns.setdefault(one.serial, asyncio.Semaphore(one.serial or 1))
        async with turn if one.serial else contextlib.nullcontext():
            truth.begun_s = now() if one.serial else truth.arrived_s
            answer = Answer(truth, one, reader, writer)
            generates = path in ("/v1/completions", "/v1/chat/completions")
            if generates and body.get("stream") and one.status == 200:
                return await answer.stream(plan_stream(one, body, chat="chat" in path))
            return await answer.whole(ANSWERS[path](one, body), _due(one, body) if generates else one.delay)


class Answer:
    """One answer, as it is sent."""

    def __init__(
        self, truth: Truth, one: Behaviour, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._truth, self._one, self._reader, self._writer = truth, one, reader, writer

    async def stream(self, stream: Stream) -> bool:
        truth = self._truth
        if self._one.hang == 0:
            return await self._wait_for_leaving()
        await self._until(min(self._one.headers, self._one.ttft))
        truth.headers_s, truth.status = now(), 200
        self._writer.write(_head(200, "text/event-stream", "Transfer-Encoding: chunked", "Cache-Control: no-cache"))
        for write in stream.writes:
            await self._until(write.at_s)
            if self._reader.at_eof():
                truth.left_s = now()
                return False
            at_s = now()
            self._writer.write(write.data)
            truth.events += [(at_s, tokens) for tokens in write.tokens]
            if write.choices and truth.chunk_s is None:
                truth.chunk_s = at_s
        if stream.ends == "hang":
            return await self._wait_for_leaving()
        return self._end(stream.ends, b"0\r\n\r\n" if stream.ends in ("whole", "clean") else b"")

    async def whole(self, content: Any, due_s: float) -> bool:
        one, truth = self._one, self._truth
        if one.hang != -1:
            return await self._wait_for_leaving()
        if one.status != 200:
            content, due_s = {"error": {"message": "as asked", "type": "error", "code": one.status}}, one.headers
        await self._until(due_s)
        extra = (f"Retry-After: {one.retry_after}",) if one.retry_after else ()
        data = _whole(one.status, content, *extra)
        truth.headers_s, truth.status = now(), one.status
        if one.cut == -1:
            return self._end("whole", data)
        body = data.index(b"\r\n\r\n") + 4
        return self._end(one.how if one.how != "clean" else "close", data[: body + (len(data) - body) // 2])

    def _end(self, how: str, data: bytes) -> bool:
        self._truth.end_s = now()
        if data:
            self._writer.write(data)
        if how == "reset":
            self._writer.transport.abort()
        return how in ("whole", "clean")

    async def _until(self, after_s: float) -> None:
        """In two steps: how exactly the system wakes one depends on how long one sleeps."""
        due_s = self._truth.begun_s + after_s
        if (ahead_s := due_s - now() - 0.003) > 0:
            await asyncio.sleep(ahead_s)
        if (rest_s := due_s - now()) > 0:
            await asyncio.sleep(rest_s)

    async def _wait_for_leaving(self) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._reader.read(1), LIMIT_S)
            self._truth.left_s = now()
        return False


def _due(one: Behaviour, body: Mapping[str, Any]) -> float:
    return one.ttft + one.gap * (output_tokens(one, body) - 1)


def _generated(one: Behaviour, body: Mapping[str, Any]) -> dict[str, Any]:
    n = output_tokens(one, body)
    said = {"message": {"role": "assistant", "content": one.text * n}} if "messages" in body else {"text": one.text * n}
    counts = {"usage": usage(body, n)} if one.usage else {}
    return {"id": "timed", "choices": [{"index": 0, **said, "finish_reason": "length"}], **counts}


def _texts(body: Mapping[str, Any], name: str) -> list[Any]:
    given = body.get(name)
    return given if isinstance(given, list) else [given]


def _classes(one: Behaviour, body: Mapping[str, Any]) -> dict[str, Any]:
    found = [{"index": i, "label": "a", "probs": [1.0], "num_classes": 1} for i in range(len(_texts(body, "input")))]
    return {"object": "list", "data": found, "usage": {"prompt_tokens": 1, "total_tokens": 1, "completion_tokens": 0}}


def _embeddings(one: Behaviour, body: Mapping[str, Any]) -> dict[str, Any]:
    found = [{"object": "embedding", "index": i, "embedding": [1.0]} for i in range(len(_texts(body, "input")))]
    return {"object": "list", "data": found, "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def _translated(one: Behaviour, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"translatedText": body.get("q")}


ANSWERS = {
    "/v1/completions": _generated,
    "/v1/chat/completions": _generated,
    "/classify": _classes,
    "/v1/embeddings": _embeddings,
    "/translate": _translated,
}


def _head(status: int, kind: str, *more: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} As-Asked", f"Content-Type: {kind}", *more, "", ""]).encode()


def _whole(status: int, content: Any, *more: str) -> bytes:
    data = json.dumps(content).encode()
    return _head(status, "application/json", f"Content-Length: {len(data)}", *more) + data


async def _serve(port: int, default: str) -> None:
    server = await asyncio.start_server(TimedServer(default).connection, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="An HTTP server whose timing is known.")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--default", default="", help="options for all requests, such as ttft=0.3,gap=0.02")
    asked = parser.parse_args()
    # epoll, which asyncio would take, waits whole milliseconds; select waits microseconds.
    loop_factory = lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())  # noqa: E731
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(asked.port, asked.default))


if __name__ == "__main__":
    main()
