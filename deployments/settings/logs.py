"""What is logged, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from deployments.settings.section import Section


class Logs(Section):
    """`format` "json" has one object a line. A request that takes longer than `slow_s` seconds has a line of its own;
    left out, one that misses its model's objective. What callers send and are answered is logged only with `prompts`.
    """

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
    slow_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    prompts: bool = False
