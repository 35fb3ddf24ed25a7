"""Groups of traps by name. Each is made anew in the process that asks, so nothing of it travels between processes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from deployments.attacks.case import Case

GROUPS = {
    "safetensors": "hostile_safetensors",
    "gguf": "hostile_gguf",
    "folders": "hostile_folders",
    "wheels": "hostile_wheels",
    "templates": "hostile_templates",
}


def cases_of(group: str) -> Sequence[Case]:
    """The cases of one group."""
    cases: Sequence[Case] = import_module(f"deployments.attacks.{GROUPS[group]}").CASES
    return cases
