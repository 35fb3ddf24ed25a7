"""Chromium without a window, and what a page may not do in it: fail, complain, or ask anybody else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
LIMIT_MS = 20_000  # for everything that is waited for
expect.set_options(timeout=LIMIT_MS)
PHONE = {"width": 360, "height": 740}
SCREEN = {"width": 1280, "height": 860}
PICTURES = os.environ.get("CONSOLE_PICTURES")
"""The folder where screenshots go; none are made without it."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium; tests are skipped without one. As the sync API keeps an event loop of its own running in
    this thread, there must be no other test between its beginning and its end that runs one: a module's is right."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium here (apt-get install chromium): none of {', '.join(NAMES)} is on the PATH")
    options = ["--no-sandbox"] if os.geteuid() == 0 else []  # it refuses to run as root with its sandbox
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options, timeout=60_000)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """One tab of a browser that knows nothing yet, and what went wrong in it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        page.on("console", lambda message: self.heard(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked(request.url))

    def heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def asked(self, url: str) -> None:
        if urlsplit(url).netloc != urlsplit(self.address).netloc:
            self.foreign.append(url)

    def open(self, view: str = "") -> Page:
        """Opens the page at a view, and waits until it knows the models."""
        self.page.goto(f"{self.address}/console{view}")
        self.page.locator("#model option").first.wait_for(state="attached")
        return self.page

    def picture(self, name: str, *, whole: bool = False) -> None:
        """Keeps a screenshot, where that is asked for."""
        if PICTURES:
            self.page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=whole)


@contextmanager
def visit(browser: Browser, address: str, **options: Any) -> Iterator[Visit]:
    """A tab; at its end nothing may have gone wrong. `options` are the browser context's."""
    context = browser.new_context(**{"viewport": SCREEN, "color_scheme": "light", **options})
    context.set_default_timeout(LIMIT_MS)
    try:
        found = Visit(context.new_page(), address)
        yield found
        assert not found.foreign, found.foreign
        assert not found.complaints, found.complaints
    finally:
        context.close()


def run(page: Page, prompt: str | None = None) -> None:
    """Presses Run, and waits until all lanes have ended."""
    if prompt is not None:
        page.fill("#prompt", prompt)
    page.click("#run")
    ended(page)


def ended(page: Page) -> None:
    """Waits until nothing runs any more, and something did."""
    page.locator(".lane").first.wait_for()
    page.locator('#stop[aria-disabled="true"]').wait_for()


def choose_task(page: Page, task: str) -> None:
    page.click(f'label[for="task-{task}"]')
