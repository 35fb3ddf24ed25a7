from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from deployments.front_door.app import create_app
from tests.deployments.front_door.console.browser import Visit, chromium, visit
from tests.deployments.front_door.fakes import FakeEngine, make_service
from tests.deployments.front_door.servers import serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def scripts(browser: Browser) -> Iterator[Page]:
    """A page in which nothing runs, of the origin that the console's modules come from."""
    with serving(create_app(make_service(FakeEngine()))) as address:
        page = browser.new_page()
        page.goto(f"{address}/console/icon.svg")
        yield page
        page.close()


@pytest.fixture
def tab(browser: Browser, address: str) -> Iterator[Visit]:
    """A tab at a front door over the fake engine."""
    with visit(browser, address) as tab:
        yield tab
