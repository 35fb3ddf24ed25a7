"""Calls functions of the page's modules, in the browser."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page


def call(page: Page, module: str, expression: str, *arguments: Any) -> Any:
    """What `expression` gives; in it `m` is the module and `a` the arguments. Infinity and Maps come back as they are
    in JSON: the former as null, the latter not at all, so let the expression make lists of them."""
    script = f"async ([path, a]) => {{ const m = await import(path); return {expression}; }}"
    return page.evaluate(script, [f"/console/{module}", list(arguments)])
