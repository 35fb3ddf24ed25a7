"""Chat messages to a prompt, by the jinja template that comes with a model.

Templates see the names and filters that Hugging Face gives them. They run in jinja's sandbox, which keeps them from
Python's internals, and within limits that no honest template comes near: steps, and sizes of texts and numbers.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from engine.errors import InvalidRequest
from engine.text.template_calls import HIDDEN, check_call, guarded, modulo_checked
from engine.text.template_limits import (
    MAX_TEMPLATE,
    OWN,
    Limits,
    add_checked,
    checked,
    join,
    limited,
    multiply_checked,
    power_checked,
)

_OPERATORS = {"+": add_checked, "*": multiply_checked, "**": power_checked, "%": modulo_checked}


class _Namespace(Namespace):
    """`namespace(...)` without names that Python itself gives a meaning to."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace cannot have the private name {name!r}")
        super().__setitem__(name, checked(value))


class _GenerationTag(Extension):
    """{% generation %} marks what an assistant wrote, for training. Here it only has to be let through."""

    tags = {"generation"}  # noqa: RUF012 - jinja declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(_OPERATORS)
    concat = staticmethod(join)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in HIDDEN and super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: jinja2.runtime.Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        if __obj in OWN:
            return __obj(*args)
        return checked(super().call(__context, __obj, *check_call(__obj, args, kwargs), **kwargs))

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        return _OPERATORS[operator](left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return limited(super()._parse(source, name, filename))


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    special_tokens: Mapping[str, str],
    add_generation_prompt: bool = True,
    tools: Sequence[Mapping[str, Any]] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> str:
    """The prompt's text. `extra` are further variables for the template ("enable_thinking", say).

    Raises `InvalidRequest` when the template is broken, refuses these messages or passes the limits.
    """
    try:
        variables = {
            **_plain(special_tokens),
            **_plain(extra or {}),
            "messages": _plain(messages),
            "tools": None if tools is None else _plain(tools),
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        if len(template) > MAX_TEMPLATE:
            raise InvalidRequest(f"The model's chat template has more than {MAX_TEMPLATE} characters.")
        with Limits():
            return join(_compile(template).generate(variables))
    except InvalidRequest:
        raise
    except jinja2.TemplateSyntaxError as error:
        raise InvalidRequest(f"The model's chat template is broken: {error.message} (line {error.lineno}).") from None
    except jinja2.TemplateError as error:
        raise InvalidRequest(f"The chat template refused the messages: {error.message}", param="messages") from None
    except Exception as error:  # a template can raise anything: it is a program
        what = f"{type(error).__name__}: {error}"
        raise InvalidRequest(f"The chat template failed on these messages ({what}).", param="messages") from None


@functools.lru_cache(maxsize=32)
def _compile(template: str) -> jinja2.Template:
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols], finalize=checked
    )
    environment.filters["tojson"] = _tojson
    environment.filters = {name: guarded(name, apply) for name, apply in environment.filters.items()}
    environment.globals["namespace"] = _Namespace
    del environment.globals["lipsum"]  # any amount of text on demand
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment.from_string(template)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike jinja's own filter, without HTML escapes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(str(message))


def _strftime_now(layout: str) -> str:
    return datetime.now().astimezone().strftime(layout)


def _plain(value: Any) -> Any:
    """A copy made of JSON's types only, for other objects have methods that the sandbox cannot judge."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item) for item in value]
    raise InvalidRequest(f"A chat template can be given JSON values only, not {type(value).__name__}.")
