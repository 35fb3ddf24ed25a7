"""The page at `/console`: the files of `front_door/console`, under a policy that lets nothing foreign in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

FOLDER = Path(__file__).parent.parent / "console"
PAGE = "index.html"
TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What there is, by the end of its name. Nothing else is given out."""

HEADERS: Mapping[str, str] = {
    # A model's answer is shown as text only; this is for the day on which somebody forgets that.
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",  # kept, and asked for again by its tag: a new version is there at once
}


@dataclass(frozen=True, slots=True)
class File:
    """One file of the page, read once."""

    content: bytes
    media_type: str
    tag: str

    def response(self, request: Request) -> Response:
        """The file, or 304 where the browser has this very one."""
        headers = {**HEADERS, "ETag": self.tag}
        if request.headers.get("if-none-match") == self.tag:
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def read_files(folder: Path = FOLDER) -> dict[str, File]:
    """All files below `folder` that may be given out, by their path in it."""
    found: dict[str, File] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in TYPES and path.is_file():
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[path.relative_to(folder).as_posix()] = File(content, TYPES[path.suffix], tag)
    return found


def router() -> APIRouter:
    """The page and what belongs to it. It needs no key: what it asks for does, where keys are configured."""
    routes = APIRouter(include_in_schema=False)
    files = read_files()

    @routes.get("/console")
    async def page(request: Request) -> Response:
        return files[PAGE].response(request)

    @routes.get("/console/")
    async def page_with_slash() -> Response:
        # Relative, as a proxy may serve all of this under a prefix. The page's own links are relative too.
        return RedirectResponse("../console", 308)

    @routes.get("/console/{path:path}")
    async def part(path: str, request: Request) -> Response:
        if path not in files:
            raise HTTPException(404)
        return files[path].response(request)

    return routes
