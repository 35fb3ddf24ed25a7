"""Limits that keep a template from running or growing without end.

A template's own steps are counted, and so is the processor's time. No value may come about that is larger than
`MAX_CHARACTERS`, where what holds others counts with all that is in it, as often as it is in it: a list that holds
another twice, which holds another twice, is small in memory and endless to print or compare. All values together may
have `MAX_MADE`. So any single step is short, and steps are where time is looked at.

The counters live in a context variable, out of a template's reach.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, Self

from jinja2 import nodes
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from engine.errors import InvalidRequest

MAX_STEPS = 1_000_000
MAX_CHARACTERS = 8_000_000
MAX_VALUES = 1_000_000  # in a list and all that is in it
MAX_MADE = 128_000_000
MAX_SECONDS = 1.0
MAX_TEMPLATE = 1 << 18  # characters; long ones have 30,000
_MAX_BITS = 4096
_STEPS_A_LOOK = 64


@dataclass(slots=True)
class _Left:
    """What a template may still use. `ends_s` by the thread's own clock."""

    steps: int
    made: int
    ends_s: float


_left: ContextVar[_Left] = ContextVar("template_left")


class Limits:
    """Counts what the templates use that are rendered within it."""

    def __enter__(self) -> Self:
        left = _Left(MAX_STEPS, MAX_MADE, time.thread_time() + MAX_SECONDS)
        self._token: Token[_Left] = _left.set(left)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _left.reset(self._token)


class _Checks(NodeTransformer):
    """Puts checks where a template makes values without calling anything."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:
        self.generic_visit(node)
        return _call("join_checked", node.nodes)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return self._literal(node, bool(node.items))

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        return self._literal(node, bool(node.items))

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        return self._literal(node, node.ctx == "load" and bool(node.items))

    def _literal(self, node: nodes.Expr, check: bool) -> nodes.Node:
        self.generic_visit(node)
        return _call("checked", [node]) if check else node


def limited(template: nodes.Template) -> nodes.Template:
    """Put the limits into a parsed template."""
    repeated: tuple[type[nodes.For | nodes.Macro | nodes.CallBlock], ...] = (nodes.For, nodes.Macro, nodes.CallBlock)
    for node in template.find_all(repeated):
        node.body.insert(0, nodes.ExprStmt(_call("count_step", []), lineno=node.lineno))
    _Checks().visit(template)
    if template.environment is not None:
        template.set_environment(template.environment)  # the new nodes have none yet
    return template


def _call(function: str, arguments: list[nodes.Expr]) -> nodes.Call:
    return nodes.Call(nodes.ImportedName(f"{__name__}.{function}"), arguments, [], None, None)


def count_step() -> None:
    """Raises `InvalidRequest` when a template has used up its steps or its time."""
    left = _left.get()
    left.steps -= 1
    if left.steps < 0:
        raise InvalidRequest(f"The chat template runs for more than {MAX_STEPS} steps.", param="messages")
    if left.steps % _STEPS_A_LOOK == 0:
        look_at_time(left)


def look_at_time(left: _Left | None = None) -> None:
    """Raises `InvalidRequest` when a template has used up its time."""
    if time.thread_time() > (left or _left.get()).ends_s:
        raise InvalidRequest(f"The chat template runs for more than {MAX_SECONDS:g} s.", param="messages")


def checked(value: Any) -> Any:
    """`value`, which was just made, unless it or all that was made is too large."""
    look_at_time()
    _spend(tree_size(value))
    return value


def join(pieces: Iterable[str]) -> str:
    """Joins what a template puts out, within the limits."""
    kept: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        check_size(size)
        kept.append(piece)
    _spend(size)
    return "".join(kept)


def join_checked(*parts: Any) -> str:
    """Jinja's ~, within the limits."""
    texts = [part if isinstance(part, str) else str(part) for part in parts]
    check_size(sum(map(len, texts)))
    _spend(sum(map(len, texts)))
    return "".join(texts)


OWN = (count_step, checked, join_checked)
"""What is put into templates here."""


def add_checked(left: Any, right: Any) -> Any:
    """Jinja's +, within the limits."""
    if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
        size = tree_size(left) + tree_size(right)
        check_size(size)
        _spend(size if isinstance(left, str) else len(left) + len(right))
    return left + right


def multiply_checked(left: Any, right: Any) -> Any:
    """Jinja's *, within the limits."""
    for many, times in ((left, right), (right, left)):
        if isinstance(many, str | list | tuple) and isinstance(times, int):
            size = tree_size(many) * max(times, 0)
            check_size(size)
            _spend(size)
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
    return left * right


def power_checked(left: Any, right: Any) -> Any:
    """Jinja's **, within the limits."""
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * abs(right))
    return left**right


def tree_size(value: Any) -> int:
    """Characters of all texts in `value`, and one for each value in it. Raises `InvalidRequest` beyond the limit."""
    if isinstance(value, str):
        return len(value)
    size, values, todo = 1, 0, [value]
    while todo:
        one = todo.pop()
        values += 1
        if isinstance(one, str):
            size += len(one)
        elif isinstance(one, list | tuple | set | frozenset):
            size += len(one)
            todo += one
        elif isinstance(one, dict | Namespace):
            inside = one if isinstance(one, dict) else _attributes(one)
            size += len(inside)
            todo += inside.keys()
            todo += inside.values()
        check_size(size)
        if values + len(todo) > MAX_VALUES:
            raise InvalidRequest(f"The chat template makes a list of more than {MAX_VALUES} values.", param="messages")
    return size


def _attributes(namespace: Namespace) -> dict[str, Any]:
    found: dict[str, Any] = object.__getattribute__(namespace, "_Namespace__attrs")
    return found


def check_size(size: int) -> None:
    """Raises `InvalidRequest` for more characters than one value may have."""
    if size > MAX_CHARACTERS:
        too_large()


def too_large() -> NoReturn:
    """Says so."""
    raise InvalidRequest(f"The chat template makes more than {MAX_CHARACTERS} characters.", param="messages")


def _spend(size: int) -> None:
    left = _left.get()
    left.made -= size
    if left.made < 0:
        raise InvalidRequest(f"The chat template makes more than {MAX_MADE} characters in all.", param="messages")


def _check_bits(bits: int) -> None:
    if bits > _MAX_BITS:
        raise InvalidRequest("The chat template computes with a number that is too large.", param="messages")
