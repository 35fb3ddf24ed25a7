"""What is wrong in a configuration, in words that say what to do."""

from __future__ import annotations

import difflib
import types
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from deployments.yaml_lines import KeyPath, show


def explain(problem: Any, root: type[BaseModel]) -> str:
    """One of pydantic's complaints about `root`: where, and what to do."""
    at: KeyPath = problem["loc"]
    if problem["type"] == "extra_forbidden":
        known = sorted(_known_keys(root, at[:-1]))
        near = difflib.get_close_matches(str(at[-1]), known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}."
        return f"{show(at)}: unknown key; {hint}"
    return f"{show(at) or 'file'}: {plain(problem)}."


def plain(problem: Any) -> str:
    """pydantic's complaint in this project's words where they say more."""
    context = problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            return "this key is needed"
        case "literal_error":
            return f"{problem['input']!r} is not one of {context['expected']}"
        case "value_error":
            return str(context["error"])
        case _:
            message = str(problem["msg"])
            return f"{message[0].lower()}{message[1:]}, not {_shorten(problem['input'])}"


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _known_keys(root: type[BaseModel], at: KeyPath) -> list[str]:
    """Names that may stand below the key path `at`."""
    section: Any = root
    for part in at:
        if isinstance(part, str):
            section = section.model_fields[part].annotation
        else:
            section = get_args(section)[0]
        if get_origin(section) in (Union, types.UnionType):
            section = next(kind for kind in get_args(section) if kind is not type(None))
    return list(section.model_fields)
