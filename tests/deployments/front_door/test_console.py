"""The page's files, as they are given out."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from deployments.front_door.routes.console import FOLDER, read_files

FILES = read_files()


async def test_the_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/console")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.content == (FOLDER / "index.html").read_bytes()


async def test_nothing_foreign_and_nothing_inline_may_run(client: httpx.AsyncClient) -> None:
    for path in ("/console", "/console/page/main.js", "/console/icon.svg"):
        headers = (await client.get(path)).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


async def test_a_file_that_the_browser_has_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/console/page/main.js")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get("/console/page/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await client.get("/console/page/main.js", headers={"If-None-Match": '"another"'})
    assert other.content == first.content


async def test_a_slash_at_the_end_leads_to_the_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/console/")
    assert (answer.status_code, answer.headers["location"]) == (308, "../console")
    assert (await client.get("/console/", follow_redirects=True)).url.path == "/console"


@pytest.mark.parametrize("path", ["nothing.js", "%2e%2e/app.py", "..%2fapp.py", "page", "page/", "styles/../../app.py"])
async def test_only_the_pages_own_files_are_given_out(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(f"/console/{path}")).status_code == 404


def test_other_kinds_of_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "page.js").write_text("1")
    (tmp_path / "page.js.orig").write_text("2")
    (tmp_path / "secret.yaml").write_text("3")
    assert read_files(tmp_path).keys() == {"page.js"}


@pytest.mark.parametrize("path", [path for path in FILES if path.endswith(".js")])
def test_what_modules_import_is_there(path: str) -> None:
    text = FILES[path].content.decode()
    for name in re.findall(r'from "([^"]+)"', text):
        target = (FOLDER / path).parent.joinpath(name).resolve().relative_to(FOLDER.resolve()).as_posix()
        assert target in FILES, f"{path} imports {name}"


def test_the_page_names_only_files_that_are_there() -> None:
    page = FILES["index.html"].content.decode()
    for name in re.findall(r'(?:href|src)="console/([^"]+)"', page):
        assert name in FILES
    styles = {path for path in FILES if path.endswith(".css")}
    assert styles == {name for name in re.findall(r'href="console/([^"]+)"', page) if name.endswith(".css")}
