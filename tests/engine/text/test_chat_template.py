"""Chat templates: the same text as transformers gives, and no way out of the sandbox."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from engine.errors import InvalidRequest
from engine.text import template_limits
from engine.text.chat_template import render

CHAT = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "What is <b> & 'c'?\n"},
    {"role": "assistant", "content": "A letter. 🙂"},
    {"role": "user", "content": "And d?"},
]
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "Größe", "parameters": {}}}]

CHATML = """{% for message in messages %}
{% if loop.first and messages[0]['role'] != 'system' %}{{ 'default' }}{% endif %}
{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
LLAMA = """{{ bos_token }}{% set ns = namespace(system='') %}
{%- for message in messages -%}
    {%- if message.role == 'system' %}{% set ns.system = message.content | trim %}{% continue %}{% endif -%}
    {%- if message.role == 'user' %}[INST] {{ ns.system ~ ' ' ~ message.content }} [/INST]{% endif -%}
    {%- if message.role == 'assistant' -%}
        {% generation %}{{ message.content + eos_token }}{% endgeneration %}
    {%- endif -%}
{%- endfor -%}"""
WITH_TOOLS = """{%- macro say(text, times=1) -%}{{ '=' * times }}{{ text }}{%- endmacro -%}
{% if tools %}{% for tool in tools %}{{ say(tool | tojson, 2) }}
{{ tool | tojson(indent=2) }}{% endfor %}{% endif %}
{% if tools is defined and documents is none %}ok{% endif %}{{ thinking }}"""


@pytest.mark.parametrize("template", [CHATML, LLAMA, WITH_TOOLS])
@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("prompt", [True, False])
def test_equals_transformers(template: str, tools: Any, prompt: bool) -> None:
    theirs, _ = render_jinja_template(
        [CHAT], tools=tools, chat_template=template, add_generation_prompt=prompt, thinking=True, **SPECIAL
    )
    ours = render(
        template,
        CHAT,
        special_tokens=SPECIAL,
        add_generation_prompt=prompt,
        tools=tools,
        extra={"thinking": True},
    )
    assert ours == theirs[0]


def run(template: str, messages: Any = (), **options: Any) -> str:
    return render(template, list(messages), special_tokens=SPECIAL, **options)


def test_extra_variables_cannot_replace_the_messages() -> None:
    extra = {"messages": "no", "bos_token": "B", "add_generation_prompt": False, "mine": [1, {"a": None}]}
    text = run("{{ messages }}{{ bos_token }}{{ add_generation_prompt }}{{ mine }}", extra=extra)
    assert text == "[]BTrue[1, {'a': None}]"


def test_date() -> None:
    assert run("{{ strftime_now('%Y') }}") in {str(datetime.now().astimezone().year + i) for i in (-1, 0)}


def test_the_models_own_objections_reach_the_caller() -> None:
    with pytest.raises(InvalidRequest, match="roles must alternate") as raised:
        run("{{ raise_exception('roles must alternate') }}")
    assert raised.value.param == "messages"


@pytest.mark.parametrize(
    "template",
    [
        "{% for",
        "{{ nothing.at.all }}",
        "{{ messages[5].role }}",
        "{{ 1 / 0 }}",
        "{{ 'a' + 1 }}",
        "{% include 'other' %}",
        "{% extends '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ 'x' | no_such_filter }}",
        "{{ [] | tojson(indent='a', nothing=1) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_failures_are_the_requests_fault(template: str) -> None:
    with pytest.raises(InvalidRequest):
        run(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__base__ }}",
        "{{ raise_exception.__globals__.keys() }}",
        "{{ strftime_now.__globals__['json'] }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ ''['__class__'].__mro__ }}",
        "{{ (''|attr('__class__')).__mro__ }}",
        "{{ '{0.__class__.__mro__}'.format(1) }}",
        "{{ '{x.__class__.__mro__}'.format_map({'x': 1}) }}",
        "{{ self.__init__.__globals__ }}",
        "{{ messages.append(1) }}",
        "{{ messages.clear() }}",
        "{{ bos_token.__doc__.__class__.__base__ }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{{ namespace(__call__=1) }}{% set ns = namespace() %}{% set ns._x = 1 %}",
        "{{ count_step() }}",
        "{{ lipsum(n=1) }}",
    ],
)
def test_no_way_out_of_the_sandbox(template: str) -> None:
    with pytest.raises(InvalidRequest):
        run(template, CHAT)


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(100001) %}{% endfor %}",
        "{% for i in range(10 ** 5) %}{% for j in range(10 ** 5) %}{% endfor %}{% endfor %}",
        "{% for i in range(10 ** 5) %}{{ messages[0].content }}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(50) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(50) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(50) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{{ 'a' * 10 ** 9 }}",
        "{{ 10 ** 9 * [1] }}",
        "{{ 9 ** (9 ** 9) }}",
        "{% set ns = namespace(x=3) %}{% for i in range(50) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    ],
)
def test_running_away(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_limits, "MAX_STEPS", 20_000)
    monkeypatch.setattr(template_limits, "MAX_CHARACTERS", 200_000)
    with pytest.raises(InvalidRequest, match=r"steps|characters|Range too big|too large"):
        run(template, [{"role": "user", "content": "x" * 100}])


def test_limits_count_anew_for_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_limits, "MAX_STEPS", 10)
    for _ in range(5):
        assert run("{% for i in range(9) %}{{ i }}{% endfor %}") == "012345678"


def test_arithmetic_and_joins_still_work() -> None:
    assert run("{{ 6 * 7 }} {{ 2 ** 10 }} {{ 'ab' * 2 }} {{ 1 + 2 }} {{ [1] + [2] }} {{ 'a' ~ 1 ~ none }}") == (
        "42 1024 abab 3 [1, 2] a1None"
    )


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", print])
def test_only_plain_data_goes_in(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="JSON values only"):
        run("{{ x }}", extra={"x": value})


def test_subclasses_of_plain_types_become_plain() -> None:
    class Loud(str):
        def upper(self) -> str:
            raise AssertionError("the template called a method of ours")

    assert run("{{ x.upper() }}", extra={"x": Loud("a")}) == "A"


def test_endless_nesting_is_refused() -> None:
    nested: list[Any] = []
    nested.append(nested)
    with pytest.raises(InvalidRequest):
        run("{{ x }}", extra={"x": nested})
