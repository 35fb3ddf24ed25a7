"""The console in a browser, at the real server: what it shows is what the API answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.deployments.front_door.console.browser import Visit, choose_task, chromium, ended, run, visit
from tests.deployments.front_door.console.scripts import call
from tests.deployments.server.running import CHOICE, ROOMY, Server
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.model]

PROMPT = "Write one sentence about rain."


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def tab(browser: Browser, server: Server) -> Iterator[Visit]:
    with visit(browser, server.url) as tab:
        yield tab


def said(server: Server, model: str, tokens: int) -> str:
    """What a model answers to `PROMPT`, greedily."""
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "temperature": 0, "max_tokens": tokens}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=120).raise_for_status().json()
    return str(answer["choices"][0]["message"]["content"])


def post(server: Server, path: str, **body: Any) -> Any:
    return httpx.post(f"{server.url}/{path}", json=body, timeout=60).raise_for_status().json()


def choose(page: Page, model: str, variant: str = "", tokens: int = 24) -> None:
    """A greedy chat with a model."""
    page.select_option("#model", model)
    page.select_option("#variant", variant)
    page.locator("summary", has_text="Settings").click()
    page.fill("#max-tokens", str(tokens))
    page.fill("#temperature", "0")


def figures(page: Page, lane: int = 0) -> dict[str, str]:
    """The names and values beside an answer."""
    found = page.locator(".lane").nth(lane).locator(".figures > div")
    return {one.locator("dt").inner_text(): one.locator("dd").inner_text() for one in found.all()}


def test_a_chat_is_streamed(tab: Visit, server: Server) -> None:
    page = tab.open()
    choose(page, ROOMY)
    with page.expect_response("**/v1/chat/completions") as found:
        run(page, PROMPT)
    headers = found.value.all_headers()
    assert headers["content-type"].startswith("text/event-stream")
    assert page.locator(".wrote").text_content() == said(server, ROOMY, 24)
    expect(page.locator(".variant")).to_have_text("bf16")
    expect(page.locator(".request-id code")).to_have_text(headers["x-request-id"])
    shown = figures(page)
    assert list(shown) == ["First token", "Tokens/s", "Tokens", "In all"]
    assert shown["First token"].endswith("s")
    assert float(shown["Tokens/s"]) > 0
    assert 2 <= int(shown["Tokens"]) <= 24
    ticks = page.locator(".rhythm-ticks").get_attribute("d")
    assert ticks is not None
    assert 2 <= ticks.count("M") <= int(shown["Tokens"]) + 1  # it came in pieces
    tab.picture("chat")


def test_two_pinned_variants_side_by_side(tab: Visit, server: Server) -> None:
    page = tab.open()
    choose(page, CHOICE, "fp32")
    page.select_option("#beside", "bf16")
    run(page, PROMPT)
    assert page.locator(".variant").all_text_contents() == ["fp32", "bf16"]
    assert page.locator(".lane-note").all_text_contents() == ["pinned, keeps 100.0% of the quality", "pinned"]
    expected = [said(server, f"{CHOICE}:{variant}", 24) for variant in ("fp32", "bf16")]
    assert page.locator(".wrote").all_text_contents() == expected
    assert float(figures(page, 1)["Tokens/s"]) > 0
    tab.picture("side-by-side")


def test_stop_stops_the_engine(tab: Visit, server: Server) -> None:
    page = tab.open()
    choose(page, ROOMY, tokens=2000)
    choose_task(page, "completion")
    page.fill("#prompt", "Once upon a time")
    page.click("#run")
    page.locator(".wrote").wait_for()
    page.click("#stop")
    ended(page)
    expect(page.locator(".lane-state")).to_have_text("stopped")
    server.wait_idle(ROOMY)


def test_labels_with_their_probabilities(tab: Visit, server: Server) -> None:
    page = tab.open()
    choose_task(page, "classify")
    run(page, "My card has not arrived yet.")
    scores = post(server, "predict", model="intents", inputs="My card has not arrived yet.")[:8]
    rows = page.locator(".bars li")
    assert rows.locator(".label").all_text_contents() == [one["label"].replace("_", " ") for one in scores]
    shown = [float(text.rstrip("%")) for text in rows.locator(".value").all_text_contents()]
    assert shown == [pytest.approx(one["score"] * 100, abs=0.6) for one in scores]
    wide = [one.evaluate("node => node.offsetWidth") for one in rows.locator(".bar span").all()]
    assert wide == sorted(wide, reverse=True)
    expect(page.locator(".variant")).to_have_text("fp32")
    tab.picture("classify")


def test_a_translation(tab: Visit, server: Server) -> None:
    page = tab.open()
    choose_task(page, "translate")
    assert page.locator("#source option").all_text_contents() == ["English"]
    assert page.locator("#target option").all_text_contents() == ["German"]
    text = "A man plays the guitar. Two dogs listen."
    run(page, text)
    expected = post(server, "translate", q=text, source="en", target="de")["translatedText"]
    expect(page.locator(".wrote")).to_have_text(expected)
    assert page.locator(".wrote").get_attribute("lang") == "de"


def test_how_alike_lines_are(tab: Visit, server: Server) -> None:
    page = tab.open()
    choose_task(page, "embed")
    run(page, "My card has not arrived.\nWhere is my card?\nIt rains.")
    cells = [float(text) for text in page.locator(".likeness td").all_text_contents() if text]
    assert len(cells) == 9
    assert cells[0] == cells[4] == cells[8] == 1
    assert cells[1] == cells[3] > cells[2] == cells[6]


def test_the_server_measures_all_that_the_page_draws(tab: Visit, server: Server) -> None:
    server.complete(max_tokens=2).raise_for_status()
    told = httpx.get(f"{server.url}/metrics", timeout=30).raise_for_status().text
    names = call(tab.open(), "watch/frames.js", "[...m.WANTED]")
    families = {name.removesuffix("_bucket").removesuffix("_total") for name in names}
    assert len(families) > 10
    missing = {name for name in families if f"# TYPE {name} " not in told and f"# TYPE {name}_total " not in told}
    assert missing == set()


def test_the_cluster_is_watched(tab: Visit, server: Server) -> None:
    page = tab.open("#watch")
    rows = page.locator("#replicas tbody th")
    expect(rows).to_have_count(7)  # six models, one of them in two variants
    assert f"{CHOICE}:fp32" in rows.all_text_contents()
    for _ in range(3):
        server.complete(model=f"{CHOICE}:bf16", max_tokens=8).raise_for_status()
    page.select_option("#watched", CHOICE)
    expect(page.locator(".row-name")).to_have_text(["fp32", "bf16"])
    expect(page.locator(".legend-name", has_text="bf16")).to_be_visible()  # requests went there
    label = 'document.querySelector(".plot").getAttribute("aria-label")'
    assert page.evaluate(label) == "Replicas over time. Now fp32: 1 replica, bf16: 1 replica."
    first_token = page.locator("#charts figure", has_text="Time to the first token")
    wait_until(lambda: bool(first_token.locator(".curve").last.get_attribute("d")), "no latency is drawn", 20)
    first_token.locator("summary").click()
    expect(first_token.locator("thead th").first).to_have_text("Time")  # the browser tells of the click later
    tab.picture("watch", whole=True)
    page.select_option("#theme", "dark")
    tab.picture("watch-dark", whole=True)
