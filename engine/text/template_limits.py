"""Limits that keep a template from running or growing without end.

Loops and macros are made to count their steps, and joining, adding and multiplying are made to check sizes first. The
counter lives in a context variable, out of a template's reach. This bounds running away, not every waste of memory: a
template comes with the model, which its operator chose.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from engine.errors import InvalidRequest

MAX_STEPS = 1_000_000
MAX_CHARACTERS = 8_000_000
_MAX_BITS = 4096

_steps_left: ContextVar[list[int]] = ContextVar("template_steps_left")


class Limits:
    """Counts the steps of the templates that are rendered within it."""

    def __enter__(self) -> Self:
        self._token: Token[list[int]] = _steps_left.set([MAX_STEPS])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _steps_left.reset(self._token)

    def join(self, pieces: Iterable[str]) -> str:
        """Join a template's output, up to `MAX_CHARACTERS`. Raises `InvalidRequest` beyond that."""
        kept: list[str] = []
        size = 0
        for piece in pieces:
            size += len(piece)
            _check_size(size)
            kept.append(piece)
        return "".join(kept)


def limited(template: nodes.Template) -> nodes.Template:
    """Put the limits into a parsed template."""
    repeated: tuple[type[nodes.For | nodes.Macro | nodes.CallBlock], ...] = (nodes.For, nodes.Macro, nodes.CallBlock)
    for node in template.find_all(repeated):
        node.body.insert(0, nodes.ExprStmt(_call("count_step", []), lineno=node.lineno))
    _CheckedJoins().visit(template)
    if template.environment is not None:
        template.set_environment(template.environment)  # the new nodes have none yet
    return template


class _CheckedJoins(NodeTransformer):
    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:
        self.generic_visit(node)
        return _call("join_checked", node.nodes)


def _call(function: str, arguments: list[nodes.Expr]) -> nodes.Call:
    return nodes.Call(nodes.ImportedName(f"{__name__}.{function}"), arguments, [], None, None)


def count_step() -> None:
    """Raises `InvalidRequest` when a template has used up its steps."""
    left = _steps_left.get()
    left[0] -= 1
    if left[0] < 0:
        raise InvalidRequest(f"The chat template runs for more than {MAX_STEPS} steps.", param="messages")


def join_checked(*parts: Any) -> str:
    """Jinja's ~, up to `MAX_CHARACTERS`."""
    texts = [str(part) for part in parts]
    _check_size(sum(map(len, texts)))
    return "".join(texts)


def add_checked(left: Any, right: Any) -> Any:
    """Jinja's +, for results of a sane size."""
    if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
        _check_size(len(left) + len(right))
    return left + right


def multiply_checked(left: Any, right: Any) -> Any:
    """Jinja's *, for results of a sane size."""
    for many, times in ((left, right), (right, left)):
        if isinstance(many, str | list | tuple) and isinstance(times, int):
            _check_size(len(many) * times)
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
    return left * right


def power_checked(left: Any, right: Any) -> Any:
    """Jinja's **, for results of a sane size."""
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * abs(right))
    return left**right


def _check_size(size: int) -> None:
    if size > MAX_CHARACTERS:
        raise InvalidRequest(f"The chat template makes more than {MAX_CHARACTERS} characters.", param="messages")


def _check_bits(bits: int) -> None:
    if bits > _MAX_BITS:
        raise InvalidRequest("The chat template computes with a number that is too large.", param="messages")
