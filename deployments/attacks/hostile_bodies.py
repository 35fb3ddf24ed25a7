"""Bodies that no honest caller sends: bombs, nests, giants and nonsense. All are answered with a 4xx, soon."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from typing import Any

from deployments.attacks.outcome import Outcome
from deployments.attacks.raw import completion, exchange, request, statuses
from deployments.attacks.scene import Scene

MOST_S = 10.0
_ZEROS = 64 << 20


@dataclass(frozen=True, slots=True)
class Hostile:
    """A request, and the statuses that are right."""

    name: str
    data: bytes
    right: tuple[int, ...] = (400, 413, 415, 422)


def bodies(scene: Scene) -> list[Hostile]:
    """One of each kind."""
    sound = completion(scene)

    def sent(name: str, body: bytes, *right: int, **headers: str) -> Hostile:
        data = request(scene, body=body, headers={key.replace("_", "-"): value for key, value in headers.items()})
        return Hostile(name, data, right or (400, 413, 415, 422))

    def field(name: str, value: Any) -> bytes:
        return completion(scene, **{name: value})

    zeros = json.dumps({"model": "x", "prompt": " " * _ZEROS}).encode()
    return [
        sent("a sound one, so that the others mean something", sound, 200),
        sent("64 MiB of spaces in 64 KiB of gzip", gzip.compress(zeros, 1), Content_Encoding="gzip"),
        sent("the same by deflate", zlib.compress(zeros, 1), Content_Encoding="deflate"),
        sent("an encoding nobody knows", sound, 200, 400, 415, Content_Encoding="zstd, gzip, br"),
        sent("100,000 nested lists", b'{"model":"x","prompt":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        sent("100,000 nested objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        sent("a schema nested 10,000 deep", _nested_schema(scene, 10_000)),
        sent("a schema nested 500 deep", _nested_schema(scene, 500)),
        sent("a number of 100,000 digits", sound[:-1] + b',"seed":' + b"9" * 100_000 + b"}"),
        sent("a number of 1e999", sound[:-1] + b',"temperature":1e999}'),
        sent("minus infinity", sound[:-1] + b',"temperature":-Infinity}'),
        sent("NaN", sound[:-1] + b',"temperature":NaN}'),
        sent("a seed of 2^200", field("seed", 2**200)),
        sent("minus one token", field("max_tokens", -1)),
        sent("tokens as a fraction", field("max_tokens", 1.5)),
        sent("a model's name of 1 MB", field("model", "x" * 1_000_000), 400, 404),
        sent("a model's name with terminal codes", field("model", "\x1b[31mx\r\n\r\nx"), 400, 404),
        sent("a field of 1 MB", field("x" * 1_000_000, 1)),
        sent("100,000 unknown fields", json.dumps({f"f{n}": n for n in range(100_000)}).encode()),
        sent("the byte FF", sound.replace(b"Once", b"\xff\xfe")),
        sent("half a surrogate", sound.replace(b"Once", rb"\ud800")),
        sent("a zero byte in a text", field("prompt", "a\0b"), 200, 400),
        sent("the same field twice", sound[:-1] + b',"model":"other"}', 200, 400, 404),
        sent("a list where an object is due", b"[1,2,3]"),
        sent("no body", b""),
        sent("half a body", sound[:-5]),
        sent("two bodies", sound + sound),
        sent("a form", b"model=x&prompt=y", Content_Type="application/x-www-form-urlencoded"),
        sent("plain text", sound, Content_Type="text/plain"),
        sent("a part of a form", sound, Content_Type="multipart/form-data; boundary=x"),
        sent("UTF-16", sound.decode().encode("utf-16"), Content_Type="application/json; charset=utf-16"),
        Hostile("a body of 9 MiB", request(scene, body=b'{"a":"' + b"x" * (9 << 20) + b'"}'), (0, 413)),
        Hostile("a body of 1 EiB, as it says", _claims(scene, 1 << 60), (400, 413)),
        Hostile("a body of minus one byte", _claims(scene, -1), (400, 413)),
    ]


def _nested_schema(scene: Scene, depth: int) -> bytes:
    schema = '{"type":"array","items":' * depth + "{}" + "}" * depth
    return completion(scene)[:-1] + b',"guided_json":' + schema.encode() + b"}"


def _claims(scene: Scene, length: int) -> bytes:
    return request(scene, body=b"{}", headers={"Content-Length": str(length)})


async def attack(scene: Scene) -> Outcome:
    """Sends all of them, each over a connection of its own."""
    return await send_all(scene, bodies(scene))


async def send_all(scene: Scene, requests: list[Hostile]) -> Outcome:
    """One after another; what came, and what should not have."""
    from time import monotonic

    outcome = Outcome()
    each = {}
    for one in requests:
        began = monotonic()
        answer = await exchange(scene, one.data)
        took = monotonic() - began
        found = statuses(answer)
        each[one.name] = {"statuses": found, "seconds": round(took, 2)}
        # 0 stands for a connection that was closed without an answer.
        fault = f"{one.name}: answered {found or 'nothing'} where {' or '.join(map(str, one.right))} was due"
        outcome.check((found[0] if found else 0) in one.right and not any(s >= 500 for s in found), fault)
        outcome.check(took <= MOST_S, f"{one.name}: took {took:.1f} s")
    outcome.seen["requests"] = each
    return outcome
