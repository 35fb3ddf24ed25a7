"""What those need who see little, or nothing: names, landmarks, contrast, words for pictures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page

from deployments.front_door.app import create_app
from tests.deployments.front_door.console.browser import run, visit
from tests.deployments.front_door.console.test_page import status
from tests.deployments.front_door.fakes import FakeEngine, make_service
from tests.deployments.front_door.servers import serving

TONES = ("fp32", "bf16", "int8-dynamic", "int8-static", "int8-weight", "int4-weight", "fp8", "other")

NAMELESS = """() => {
  const shown = (node) => node.checkVisibility();
  const labelled = (id) => id && document.getElementById(id).textContent;
  const named = (node) => node.getAttribute("aria-label")
    || labelled(node.getAttribute("aria-labelledby"))
    || [...(node.labels ?? [])].map((label) => label.textContent).join("")
    || (["BUTTON", "A", "SUMMARY"].includes(node.tagName) && node.textContent.trim());
  const kinds = "input, select, textarea, button, a, summary, dialog, [role=img], [role=region], [tabindex='0']";
  const all = document.querySelectorAll(kinds);
  return [...all].filter(shown).filter((node) => !named(node)).map((node) => node.outerHTML);
}"""

FAINT = """() => {
  const numbers = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const rgba = (color) => {
    const [r, g, b, a = 1] = numbers(color);
    return color.startsWith("color(") ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
  };
  const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a)];
  const ground = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (color) => {
    const [r, g, b] = color.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, two) => {
    const [low, high] = [light(one), light(two)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const unseen = !node.checkVisibility() || node.closest(".quiet, .skip, option, :disabled + label");
    if (unseen || !walker.currentNode.data.trim()) continue;
    const style = getComputedStyle(node);
    const svg = node instanceof SVGElement;
    const behind = ground(svg ? node.closest("svg").parentElement : node);
    const color = over(rgba(svg ? style.fill : style.color), behind);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    seen += 1;
    if (ratio(color, behind) < (large ? 3 : 4.5)) faint.push([walker.currentNode.data, ratio(color, behind)]);
  }
  return { seen, faint };
}"""

STRUCTURE = """() => {
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  const levels = [...document.querySelectorAll("h1, h2, h3, h4")].filter((node) => node.checkVisibility());
  const refers = [...document.querySelectorAll("[aria-describedby], [aria-labelledby], label[for]")].flatMap((node) =>
    [node.getAttribute("aria-describedby"), node.getAttribute("aria-labelledby"), node.getAttribute("for")]);
  return {
    twice: ids.filter((id, place) => ids.indexOf(id) !== place),
    missing: refers.filter((id) => id && !ids.includes(id)),
    levels: levels.map((node) => Number(node.tagName[1])),
    mains: document.querySelectorAll("main").length,
    navs: [...document.querySelectorAll("nav")].map((node) => node.getAttribute("aria-label")),
    positive: document.querySelectorAll("[tabindex]:not([tabindex='0'], [tabindex='-1'])").length,
    lang: document.documentElement.lang,
    title: document.title,
  };
}"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(create_app(make_service(FakeEngine(), status=status))) as address:
        yield address


@pytest.fixture(scope="module", params=["try", "watch"])
def shown(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Each of the two views, with something in all of its parts."""
    with visit(browser, address) as tab:
        page = tab.open(f"#{request.param}")
        if request.param == "try":
            page.click("summary")
            page.select_option("#beside", "fp32")
            run(page)
        else:
            page.locator(".station").first.wait_for()
            body = {"prompt": "Once", "max_tokens": 4}
            httpx.post(f"{address}/v1/completions", json=body, timeout=30).raise_for_status()
            page.locator(".legend-name", has_text="bf16").wait_for()
            for summary in page.locator("#charts summary").all():
                summary.click()
        yield page


def test_everything_has_a_name(shown: Page) -> None:
    assert shown.evaluate(NAMELESS) == []
    shown.evaluate("document.body.append(document.createElement('input'))")
    assert shown.evaluate(NAMELESS) == ["<input>"]  # it would be found
    shown.evaluate("document.body.lastElementChild.remove()")


def test_the_outline(shown: Page) -> None:
    found = shown.evaluate(STRUCTURE)
    assert (found["twice"], found["missing"], found["positive"]) == ([], [], 0)
    assert (found["mains"], found["navs"], found["lang"]) == (1, ["Views"], "en")
    assert "Stageline" in found["title"]
    levels = found["levels"]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_stand_out(shown: Page, theme: str) -> None:
    shown.select_option("#theme", theme)
    found = shown.evaluate(FAINT)
    assert found["seen"] > 30
    assert found["faint"] == []
    health = "document.querySelector('.health').style"
    shown.evaluate(f"{health}.color = 'color-mix(in srgb, var(--card), var(--ink) 30%)'")
    assert [text for text, _ in shown.evaluate(FAINT)["faint"]] == ["1 model ready"]  # it would be found
    shown.evaluate(f"{health}.color = ''")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_colours_of_all_variants_stand_out(shown: Page, theme: str) -> None:
    """As text, which needs more contrast than an area."""
    shown.select_option("#theme", theme)
    sample = """(tones) => {
      const foot = document.querySelector(".foot");
      foot.className = "foot card";
      foot.replaceChildren(...tones.map((tone) => {
        const node = document.createElement("p");
        node.className = `variant tone-${tone}`;
        node.textContent = tone;
        return node;
      }));
      return [...foot.children].map((node) => getComputedStyle(node).color);
    }"""
    assert len(set(shown.evaluate(sample, TONES))) == len(TONES)
    assert shown.evaluate(FAINT)["faint"] == []


@pytest.mark.parametrize("shown", ["try"], indirect=True)
def test_answers_and_failures_are_announced(shown: Page) -> None:
    live = shown.locator(".answer").evaluate_all("all => all.map((one) => one.getAttribute('aria-live'))")
    assert live == ["polite", "polite"]
    for name in ("#form-problem", "#notice"):
        assert shown.locator(name).get_attribute("role") == "alert"
    for name in ("#health", "#watch-problem"):
        assert shown.locator(name).get_attribute("role") == "status"


@pytest.mark.parametrize("shown", ["watch"], indirect=True)
def test_charts_say_in_words_what_they_show(shown: Page) -> None:
    labels = shown.locator(".plot").evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
    assert len(labels) == 6
    assert labels[0].startswith("Replicas over time. Now tiny:bf16: ")
    tables = shown.locator(".as-table table")
    assert tables.count() == 6
    for table in tables.all():
        assert table.locator("thead th").first.inner_text() == "Time"
        assert table.locator("tbody tr").count() >= 1
