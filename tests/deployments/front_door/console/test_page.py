"""The page in a browser, over a fake engine that stops where a test wants it to."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.types import ASGIApp, Receive, Scope, Send

from cluster.pipeline.state import Shares, StageState, State
from deployments.front_door.app import create_app
from deployments.stage_status import stage_status
from engine.errors import EngineFailed, Overloaded
from tests.deployments.front_door.console.browser import PHONE, Visit, choose_task, ended, run, visit
from tests.deployments.front_door.fakes import FakeEngine, make_service
from tests.deployments.front_door.servers import serving
from tests.waiting import wait_until

MIB = 1 << 20


def stage(index: int, layers: str, state: State, busy: float, restarts: int) -> StageState:
    shares = Shares(busy=busy, waiting=0.2, sending=0.05, active=0.9)
    return StageState(
        index=index,
        layers=layers,
        node="10.0.0.1",
        pid=1,
        state=state,
        memory_bytes=300 * MIB,
        peak_memory_bytes=400 * MIB,
        weight_bytes=200 * MIB,
        cache_bytes=64 * MIB,
        load_s=1.0,
        batches=5,
        restarts=restarts,
        shares=shares,
    )


STAGES = (stage(0, "0-14", "ready", 0.75, 0), stage(1, "15-29", "lost", 0.492, 2))
REPLICA = {"state": "ready", "node": "10.0.0.1", "pid": 7, "running": 3, "waiting": 1, **stage_status(STAGES)}
STATUS = {
    "models": [
        {
            "name": "tiny",
            "task": "text-generation",
            "variants": [
                {"name": "bf16", "state": "ready", "replicas": [REPLICA]},
                {"name": "fp32", "state": "asleep", "replicas": []},
            ],
        }
    ]
}


async def status() -> Mapping[str, Any]:
    return STATUS


@pytest.fixture
def address(engine: FakeEngine) -> Iterator[str]:
    with serving(create_app(make_service(engine, status=status))) as address:
        yield address


class Gate:
    """Lets the engine's bundles through one after the other, from another thread."""

    def __init__(self) -> None:
        self.permits = threading.Semaphore(0)

    async def __call__(self, position: int) -> None:
        while not self.permits.acquire(blocking=False):  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def let(self, count: int) -> None:
        for _ in range(count):
            self.permits.release()


def test_text_is_shown_as_it_comes(tab: Visit, engine: FakeEngine) -> None:
    engine.text, engine.gate = "Rain falls.", (gate := Gate())
    page = tab.open()
    page.click("#run")
    answer = page.locator(".wrote")
    expect(page.locator(".lane-state")).to_have_text("waiting")
    gate.let(4)
    expect(answer).to_have_text("Rain")
    expect(page.locator(".answer")).to_have_attribute("aria-busy", "true")  # it is read out when it is whole
    expect(page.locator(".figures dt").first).to_have_text("First token")
    gate.let(100)
    ended(page)
    expect(answer).to_have_text("Rain falls.")
    expect(page.locator(".answer")).to_have_attribute("aria-busy", "false")
    expect(page.locator(".variant")).to_have_text("bf16")
    expect(page.locator(".lane-note")).to_have_text("chosen by the server")


def test_stop_ends_the_request_too(tab: Visit, engine: FakeEngine) -> None:
    engine.text, engine.gate = "Rain falls.", (gate := Gate())
    page = tab.open()
    page.click("#run")
    gate.let(4)
    expect(page.locator(".wrote")).to_have_text("Rain")
    page.keyboard.press("Escape")
    expect(page.locator(".lane-state")).to_have_text("stopped")
    expect(page.locator(".wrote")).to_have_text("Rain")
    ended(page)
    wait_until(lambda: engine.aborted, "the engine went on, though nobody listened any more")


def test_a_conversation_goes_on_until_it_is_cleared(tab: Visit, engine: FakeEngine) -> None:
    page = tab.open()
    run(page, "one")
    run(page, "two")
    assert page.locator(".said").all_text_contents() == ["You: one", "You: two"]
    asked = bytes(token for token in engine.requests[-1].prompt if token < 256).decode()
    assert asked.index("one") < asked.index("Hello, world") < asked.index("two")
    page.click("#clear")
    expect(page.locator(".lane")).to_have_count(0)
    run(page, "three")
    assert page.locator(".said").all_text_contents() == ["You: three"]


def test_what_a_model_writes_is_text(tab: Visit, engine: FakeEngine) -> None:
    engine.text = '<img src=x onerror="document.title=1"><b>bold</b>'
    page = tab.open()
    run(page, "<i>said</i>")
    expect(page.locator(".wrote")).to_have_text(engine.text)
    assert page.locator(".answer img, .answer b, .answer i").count() == 0


@pytest.mark.parametrize("fail_after", [0, 3])
def test_failures_are_told_in_words(browser: Browser, address: str, engine: FakeEngine, fail_after: int) -> None:
    engine.failure, engine.fail_after = EngineFailed("The step failed."), fail_after
    with visit(browser, address) as tab:
        page = tab.open()
        run(page)
        expect(page.locator(".lane .problem")).to_have_text("The step failed.")
        expect(page.locator(".lane-state")).to_have_text("failed")
        expect(page.locator(".request-id code")).not_to_be_empty()
        tab.complaints = [one for one in tab.complaints if "status of 500" not in one]  # the browser's own line


def test_a_full_server_says_when_to_come_back(browser: Browser, address: str, engine: FakeEngine) -> None:
    engine.failure = Overloaded("The queue is full.", retry_after_s=3)
    with visit(browser, address) as tab:
        page = tab.open()
        run(page)
        expect(page.locator(".lane .problem")).to_have_text("The queue is full. Try again in 3 s.")
        tab.complaints = [one for one in tab.complaints if "status of 503" not in one]


def test_an_empty_field_is_not_sent(tab: Visit, engine: FakeEngine) -> None:
    page = tab.open()
    page.fill("#prompt", "  ")
    page.click("#run")
    expect(page.locator("#form-problem")).to_have_text('"Message" is empty.')
    assert engine.requests == []


def test_tasks_that_no_model_has_cannot_be_chosen(tab: Visit) -> None:
    page = tab.open()
    disabled = page.locator("input[name=task]:disabled")
    assert disabled.evaluate_all("all => all.map((one) => one.value)") == ["classify", "translate", "embed"]


def test_by_keyboard_alone(tab: Visit, engine: FakeEngine) -> None:
    page = tab.open()
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page) == "Chat"
    page.keyboard.press("ArrowRight")
    assert focused(page) == "Complete"
    reach(page, "prompt")
    page.keyboard.press("Control+A")
    page.keyboard.type("Once")
    page.keyboard.press("Control+Enter")
    ended(page)
    expect(page.locator(".wrote")).to_have_text("Hello, world")
    assert bytes(engine.requests[0].prompt[-4:]) == b"Once"
    reach(page, "run")
    page.keyboard.press("Enter")
    ended(page)
    assert page.evaluate("document.activeElement.id") == "run"  # the focus stays where it was
    assert len(engine.requests) == 2


def focused(page: Page) -> str:
    script = "document.activeElement.labels?.[0]?.textContent ?? document.activeElement.textContent"
    return str(page.evaluate(script))


def reach(page: Page, name: str) -> None:
    """Presses Tab until the element is reached, and looks that the focus can be seen on the way."""
    for _ in range(40):
        page.keyboard.press("Tab")
        style = "getComputedStyle(document.activeElement.type === 'radio' ? document.activeElement.nextSibling"
        assert page.evaluate(f"{style} : document.activeElement).outlineStyle") == "solid"
        if page.evaluate("document.activeElement.id") == name:
            return
    raise AssertionError(f"#{name} cannot be reached with Tab")


def test_stages_are_shown_with_what_they_do(tab: Visit) -> None:
    page = tab.open("#watch")
    expect(page.locator(".station")).to_have_count(2)
    first, second = page.locator(".station").all()
    expect(first).to_contain_text("Stage 0")
    expect(first).to_contain_text("busy 75%, sending 5.0%, waiting 20%")
    expect(second).to_contain_text("lost at 10.0.0.1, 300 MiB, replaced 2×")
    expect(page.locator(".pipeline h4")).to_contain_text("31% of the time lost (bubble)")
    expect(page.locator("#replicas tbody tr")).to_have_count(1)
    tab.picture("stages", whole=True)


def test_nothing_is_asked_while_the_tab_is_hidden(browser: Browser, address: str) -> None:
    with visit(browser, address) as tab:
        page = tab.page
        page.clock.install()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/status") else None)
        with page.expect_response("**/status"):
            tab.open("#watch")
        expect(page.locator("#health")).to_have_text("1 model ready")
        for _ in range(3):
            with page.expect_response("**/metrics"):
                page.clock.run_for(1100)
        hide(page, True)
        page.wait_for_load_state("networkidle")
        before = len(asked)
        assert before >= 4
        page.clock.run_for(60_000)
        page.evaluate("fetch('version')")  # what was asked before this has been seen
        assert len(asked) == before
        with page.expect_response("**/status"):
            hide(page, False)


def hide(page: Page, hidden: bool) -> None:
    page.evaluate(
        "(hidden) => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


class NeedsKey:
    """Refuses everything but the page to those without the key."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app = app
        self.expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        open_to_all = scope["type"] != "http" or scope["path"].startswith("/console")
        if open_to_all or dict(scope["headers"]).get(b"authorization") == self.expected:
            await self.app(scope, receive, send)
            return
        body = json.dumps({"error": {"message": "No API key.", "type": "AuthenticationError"}}).encode()
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})


def test_a_key_is_asked_for_where_one_is_needed(browser: Browser, engine: FakeEngine) -> None:
    app = create_app(make_service(engine, status=status))
    app.add_middleware(NeedsKey, key="correct-horse")
    with serving(app) as address, visit(browser, address) as tab:
        page = tab.page
        page.goto(f"{address}/console")
        expect(page.locator("#notice")).to_be_visible()
        expect(page.locator("#notice")).to_contain_text("The server wants an API key")
        tab.picture("key-notice")
        page.click("#notice-key")
        expect(page.locator("#key")).to_be_focused()
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#notice")).to_be_visible()  # it is wrong, and says so
        page.click("#open-key")
        page.fill("#key", "correct-horse")
        page.keyboard.press("Enter")
        expect(page.locator("#model option")).to_have_text("tiny")
        expect(page.locator("#notice")).to_be_hidden()
        expect(page.locator("#health")).to_have_text("1 model ready")
        run(page)
        expect(page.locator(".wrote")).to_have_text("Hello, world")
        assert page.evaluate("Object.values(sessionStorage)") == ["correct-horse"]
        assert "correct-horse" not in str(
            page.evaluate("[Object.values(localStorage), document.cookie, location.href]")
        )
        page.click("#open-key")
        page.click("#forget-key")
        run(page)  # what the reader asks for himself opens the dialog
        expect(page.locator("#key")).to_be_focused()
        assert page.evaluate("sessionStorage.length") == 0
        tab.complaints = [one for one in tab.complaints if "status of 401" not in one]


def test_a_key_that_may_not_watch_may_still_try(browser: Browser, address: str) -> None:
    with visit(browser, address) as tab:
        body = json.dumps({"error": {"message": "This key has no right to see /status."}})
        tab.page.route("**/status", lambda route: route.fulfill(status=403, body=body, content_type="application/json"))
        page = tab.open("#watch")
        expect(page.locator("#watch-problem")).to_have_text("This key has no right to see /status.")
        expect(page.locator("#notice")).to_be_hidden()
        page.click("nav [data-view=try]")
        run(page)
        expect(page.locator(".wrote")).to_have_text("Hello, world")
        tab.complaints = [one for one in tab.complaints if "status of 403" not in one]


def test_a_server_that_is_gone_and_comes_back(browser: Browser, address: str) -> None:
    with visit(browser, address) as tab:
        page = tab.open("#watch")
        expect(page.locator("#health")).to_have_text("1 model ready")
        page.route("**/status", lambda route: route.abort())
        expect(page.locator("#health")).to_have_text("No answer")
        expect(page.locator(".event.fault .what")).to_contain_text("cannot be reached")
        page.unroute("**/status")
        expect(page.locator("#health")).to_have_text("1 model ready")
        expect(page.locator(".event.recovery .what")).to_have_text("The server answers again")
        tab.complaints = [one for one in tab.complaints if "ERR_FAILED" not in one]


@pytest.mark.parametrize("view", ["", "#watch"])
def test_a_phone_need_not_scroll_sideways(browser: Browser, address: str, engine: FakeEngine, view: str) -> None:
    engine.text = "Unbroken" * 40
    with visit(browser, address, viewport=PHONE) as tab:
        page = tab.open(view)
        if view:
            page.locator(".station").first.wait_for()
        else:
            page.select_option("#beside", "fp32")
            run(page, "x" * 200)
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        tab.picture(f"phone-{view.strip('#') or 'try'}", whole=True)


def test_the_theme_is_switched_and_kept(tab: Visit) -> None:
    page = tab.open()
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.select_option("#theme", "dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    page.select_option("#theme", "auto")
    assert page.evaluate(ground) == light
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) == dark


def test_nothing_moves_for_those_who_want_that(browser: Browser, address: str, engine: FakeEngine) -> None:
    engine.gate = (gate := Gate())
    beats = "getComputedStyle(document.querySelector('.lane-state'), '::before').animationName"
    for motion, expected in (("no-preference", "beat"), ("reduce", "none")):
        with visit(browser, address, reduced_motion=motion) as tab:
            page = tab.open()
            page.click("#run")
            expect(page.locator(".lane-state")).to_have_text("waiting")
            assert page.evaluate(beats) == expected
            page.click("#stop")
    gate.let(100)


def test_a_choice_of_tasks_keeps_what_was_typed(tab: Visit) -> None:
    page = tab.open()
    page.fill("#prompt", "my own words")
    choose_task(page, "completion")
    expect(page.locator("#prompt")).to_have_value("Once upon a time")
    choose_task(page, "chat")
    expect(page.locator("#prompt")).to_have_value("my own words")
