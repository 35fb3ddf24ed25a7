"""Requests that are wrong as HTTP: two lengths, headers without end, pipelines, methods that are none.

What matters with two lengths is that proxy and server read them alike. If they did not, the rest of one caller's
request would be taken for the beginning of another's, who would get an answer to what he did not ask.
"""

from __future__ import annotations

from deployments.attacks.hostile_bodies import Hostile, send_all
from deployments.attacks.outcome import Outcome
from deployments.attacks.raw import completion, exchange, request, statuses
from deployments.attacks.scene import Scene

REFUSED = (0, 400, 413, 414, 431, 501)
PIPELINE, NEXT_CALLERS = 200, 4
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def requests_of(scene: Scene) -> list[Hostile]:
    sound = completion(scene)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(sound), sound)

    def head(**headers: str) -> bytes:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return request(scene, headers=named, length=False)

    many = {f"X-{number}": "y" * 100 for number in range(200)}
    return [
        Hostile("a chunked body", head(Transfer_Encoding="chunked") + chunked, (200,)),
        Hostile("a chunk of 2^64 bytes", head(Transfer_Encoding="chunked") + b"ffffffffffffffffff\r\nx", REFUSED),
        Hostile("a chunk of minus one byte", head(Transfer_Encoding="chunked") + b"-1\r\nx\r\n", REFUSED),
        Hostile("a chunk's size in words", head(Transfer_Encoding="chunked") + b"ten\r\nx\r\n", REFUSED),
        Hostile("an encoding that is none", head(Transfer_Encoding="xchunked") + sound, REFUSED),
        Hostile("a header of 64 KiB", request(scene, body=sound, headers={"X-Large": "x" * 65536}), REFUSED),
        Hostile("200 headers of 20 KiB together", request(scene, body=sound, headers=many), (200, *REFUSED)),
        Hostile("a path of 32 KiB", request(scene, "GET", "/" + "a" * 32768), REFUSED),
        Hostile("a header with a zero byte", request(scene, body=sound, headers={"X-Zero": "a\0b"}), REFUSED),
        Hostile("a header without a colon", _spoilt(scene, b"\r\nnonsense\r\n"), REFUSED),
        Hostile("a space before a colon", _spoilt(scene, b"\r\nX-Space : 1\r\n"), REFUSED),
        Hostile("no host", b"GET /health HTTP/1.1\r\n\r\n", (200, *REFUSED)),
        Hostile("HTTP/9.9", b"GET /health HTTP/9.9\r\nHost: a\r\n\r\n", (200, 403, *REFUSED, 505)),
        Hostile("HTTP/2 on a port without it", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(64), (*REFUSED, 505)),
        Hostile("a TLS greeting", bytes.fromhex("160301020001000001fc0303") + bytes(500), REFUSED),
        Hostile("10 KiB of noise", bytes(range(256)) * 40, REFUSED),
        Hostile("a method that is none", request(scene, "BREW", body=sound), (400, 405, 501)),
        Hostile("CONNECT", request(scene, "CONNECT", "example.com:443"), (400, 404, 405)),
        Hostile("TRACE", request(scene, "TRACE", "/health"), (400, 404, 405)),
        Hostile("DELETE", request(scene, "DELETE", "/v1/completions"), (400, 405)),
        Hostile("PUT of a completion", request(scene, "PUT", body=sound), (405,)),
        Hostile("a path with ../", request(scene, "GET", "/v1/../../etc/passwd"), (400, 404)),
        Hostile("an encoded ../", request(scene, "GET", "/v1/%2e%2e/%2e%2e/etc/passwd"), (400, 404)),
        Hostile("a foreign address as path", request(scene, "GET", "http://example.com/health"), (200, 400, 403, 404)),
    ]


def _spoilt(scene: Scene, line: bytes) -> bytes:
    return request(scene, body=completion(scene)).replace(b"\r\n", line, 1)


def smuggling(scene: Scene) -> list[tuple[str, bytes]]:
    """Each ends with a second request that must not be seen as one."""
    sound = completion(scene)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(sound), sound)
    short = {"Content-Length": "4"}

    def head(*lines: str) -> bytes:
        whole = request(scene, length=False)
        return whole[:-2] + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"

    whole = f"Content-Length: {len(chunked) + len(SMUGGLED)}"
    return [
        ("both lengths", head("Transfer-Encoding: chunked", whole) + chunked + SMUGGLED),
        ("both, the short one last", head("Transfer-Encoding: chunked", "Content-Length: 4") + chunked + SMUGGLED),
        ("two lengths", head("Content-Length: 4", f"Content-Length: {len(sound)}") + sound + SMUGGLED),
        ("a length in a list", head(f"Content-Length: {len(sound)}, 4") + sound + SMUGGLED),
        ("a length with a sign", head(f"Content-Length: +{len(sound)}") + sound + SMUGGLED),
        ("chunked twice", head("Transfer-Encoding: chunked", "Transfer-Encoding: identity") + chunked + SMUGGLED),
        ("chunked behind a tab", head("Transfer-Encoding:\tchunked", "Content-Length: 3") + chunked + SMUGGLED),
        ("chunked and something", head("Transfer-Encoding: chunked, cow", whole) + chunked + SMUGGLED),
        ("a folded header", head("Transfer-Encoding:\r\n chunked", f"Content-Length: {len(sound)}") + sound + SMUGGLED),
        ("a bare newline", head(f"X: y\nContent-Length: {len(sound)}") + sound + SMUGGLED),
        ("a short length", request(scene, body=sound, headers=short) + SMUGGLED),
    ]


async def attack(scene: Scene) -> Outcome:
    outcome = await send_all(scene, requests_of(scene))
    each = {}
    for name, data in smuggling(scene):
        each[name] = found = statuses(await exchange(scene, data))
        outcome.check(not any(status >= 500 for status in found), f"{name}: answered {found}")
        for _ in range(NEXT_CALLERS):
            answer = await exchange(scene, request(scene, "GET", "/version", length=False))
            right = statuses(answer)[:1] == [200] and b'"version"' in answer
            outcome.check(right, f"{name}: the next caller was answered {answer[:200]!r}")
    outcome.seen["smuggling"] = each
    found = statuses(await exchange(scene, request(scene, "GET", "/health", length=False) * PIPELINE))
    outcome.seen[f"pipeline of {PIPELINE}"] = len(found)
    outcome.check(found == [200] * PIPELINE, f"a pipeline of {PIPELINE} was answered {len(found)} times: {set(found)}")
    return outcome
