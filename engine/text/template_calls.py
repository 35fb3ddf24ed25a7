"""What a template may call, and with what: methods and filters whose result would be far larger than what they are
given are refused before they begin."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from engine.errors import InvalidRequest
from engine.text.template_limits import MAX_CHARACTERS, check_size, checked, look_at_time, too_large, tree_size

HIDDEN = frozenset({"encode", "from_bytes", "maketrans", "to_bytes", "translate"})
"""Methods that templates do not see: without bytes there are no codecs, some of which are slow on purpose."""

_WIDE_METHODS = frozenset({"center", "expandtabs", "ljust", "rjust", "zfill"})
_WIDE_FILTERS = frozenset({"batch", "center", "indent", "slice", "truncate", "wordwrap"})
_SLOW_FILTERS = frozenset({"pprint", "striptags", "title", "urlencode", "urlize", "wordcount", "wordwrap", "xmlattr"})
_MAX_FOR_SLOW = 100_000  # characters: in a single step they would take minutes for more
_MAX_INDENT = 64
_DIGITS = re.compile(r"\d{7,}")
_WIDTH_ELSEWHERE = re.compile(r"%[^a-zA-Z%]*\*|\{[^{}]*:[^{}]*\{")


def check_call(called: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
    """The arguments to call a method with, generators read. Raises `InvalidRequest` for a result beyond the limit."""
    look_at_time()
    name, owner = getattr(called, "__name__", ""), getattr(called, "__self__", None)
    if not isinstance(owner, str):
        owner = getattr(called, "__wrapped__", None) and getattr(called.__wrapped__, "__self__", None)
    if not isinstance(owner, str):
        return tuple(arguments)
    values = [*arguments, *named.values()]
    if name == "join" and arguments:
        pieces = _listed(arguments[0])
        check_size(tree_size(pieces) + len(owner) * len(pieces))
        return (pieces, *arguments[1:])
    if name == "replace" and len(arguments) >= 2:
        _check_replace(owner, arguments[0], arguments[1])
    elif name == "expandtabs":
        _check_wide(values, times=owner.count("\t"))
    elif name in _WIDE_METHODS:
        _check_wide(values)
    elif name in ("format", "format_map"):
        check_format(owner, values)
    return tuple(arguments)


def guarded(name: str, apply: Callable[..., Any]) -> Callable[..., Any]:
    """A filter within the limits."""

    @functools.wraps(apply)
    def guarded_filter(*given: Any, **named: Any) -> Any:
        look_at_time()
        # Some get the environment or the context first, which is none of the template's values.
        skipped = 1 if hasattr(apply, "jinja_pass_arg") else 0
        value, arguments = given[skipped], list(given[skipped + 1 :])
        values = [*arguments, *named.values()]
        if name in _SLOW_FILTERS and tree_size(value) > _MAX_FOR_SLOW:
            raise InvalidRequest(f"The chat template gives '{name}' too much text.", param="messages")
        if name in _WIDE_FILTERS:
            _check_wide(values, times=str(value).count("\n") + 1 if name == "indent" else 1)
        elif name == "format":
            check_format(str(value), values)
        elif name == "replace" and len(arguments) >= 2:
            _check_replace(str(value), str(arguments[0]), str(arguments[1]))
        elif name == "join":
            value = _listed(value)
            glue = str(named.get("d", arguments[0] if arguments else ""))
            check_size(tree_size(value) + len(glue) * len(value))
        elif name == "tojson":
            _check_wide(values, _MAX_INDENT)
        elif name == "sum":
            value = _listed(value)
            if not isinstance(named.get("start", arguments[1] if len(arguments) > 1 else 0), int | float):
                raise InvalidRequest("The chat template adds up what are no numbers.", param="messages")
        return checked(apply(*given[:skipped], value, *arguments, **named))

    return guarded_filter


def modulo_checked(left: Any, right: Any) -> Any:
    """Jinja's %, within the limits."""
    if isinstance(left, str):
        check_format(left, right if isinstance(right, tuple) else [right])
        return checked(left % right)
    return left % right


def check_format(layout: str, values: Iterable[Any]) -> None:
    """By what stands in the layout and what is put into it. Raises `InvalidRequest` beyond the limit."""
    values = list(values)
    size, fields = tree_size(values), layout.count("%") + layout.count("{")
    check_size(len(layout) + size * max(1, fields))
    if _DIGITS.search(layout):
        too_large()
    if _WIDTH_ELSEWHERE.search(layout):
        _check_wide([one for value in values for one in (value.values() if isinstance(value, dict) else [value])])


def _check_wide(values: Iterable[Any], most: int = MAX_CHARACTERS, times: int = 1) -> None:
    """For numbers that say how wide something becomes, `times` times."""
    for value in values:
        width = len(value) if isinstance(value, str) else value
        if isinstance(width, int | float) and abs(width) * max(1, times) > most:
            too_large()


def _check_replace(text: str, old: Any, new: Any) -> None:
    if isinstance(old, str) and isinstance(new, str):
        found = text.count(old) if old else len(text) + 1
        check_size(len(text) + found * max(0, len(new) - len(old)))


def _listed(value: Any) -> Any:
    """A generator's values, at most so many; anything else as it is."""
    if isinstance(value, str | list | tuple | dict | set | frozenset) or not isinstance(value, Iterable):
        return value
    found = list(islice(value, MAX_CHARACTERS + 1))
    check_size(len(found))
    return found
