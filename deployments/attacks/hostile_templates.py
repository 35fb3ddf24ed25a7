"""Chat templates that try to get out of the sandbox, run for ever or eat memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deployments.attacks.case import Case
from engine.errors import InvalidRequest
from engine.text.chat_template import render

REFUSED = ("InvalidRequest",)
CHAT = ({"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "x" * 1000})

ESCAPES = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'].__mro__ }}",
    "{{ (''|attr('__class__')).__mro__ }}",
    "{{ ''|attr('\\x5f\\x5fclass\\x5f\\x5f')|attr('__mro__') }}",
    "{{ [1]|map(attribute='__class__')|map(attribute='__mro__')|list }}",
    "{{ [1]|groupby('__class__')|list|first|first|attr('__mro__') }}",
    "{{ [1]|sum(attribute='__class__') }}",
    "{{ '{0.__class__.__mro__}'.format(1) }}",
    "{{ '{x.__class__}'.format_map({'x': 1}) }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__['json'] }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.system('true') }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.environment }}",
    "{% macro m() %}{% endmacro %}{{ m.__init__.__globals__ }}",
    "{% for x in [1] %}{{ loop.__class__.__init__.__globals__ }}{% endfor %}",
    "{{ (messages|map('attr', '__class__')|list)[0].__mro__ }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({'role': 'x'}) }}",
    "{% import 'os' as os %}{{ os }}",
    "{% include '/etc/passwd' %}",
    "{% extends '/etc/passwd' %}",
    "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "{{ namespace(__call__=1)._x.__class__.__mro__ }}",
    "{{ (1).__add__.__self__.__class__.__base__ }}",
    "{{ range.__class__.__base__ }}",
    "{{ dict.mro() }}",
    "{{ dict.__subclasses__() }}",
)

_LOOP = "{% for i in range(100000) %}"
_DOUBLE = "{% set ns = namespace(x='ab' * 1000) %}{% for i in range(60) %}"

RUNAWAYS = (
    f"{_LOOP}{_LOOP}{{% endfor %}}{{% endfor %}}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    _DOUBLE + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    _DOUBLE + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
    _DOUBLE + "{% set ns.x = ns.x.replace('a', 'aaaaaaaa') %}{% endfor %}{{ ns.x|length }}",
    _DOUBLE + "{% set ns.x = ns.x|replace('a', 'aaaaaaaa') %}{% endfor %}{{ ns.x|length }}",
    _DOUBLE + "{% set ns.x = ns.x|replace('', ns.x) %}{% endfor %}{{ ns.x|length }}",
    _DOUBLE + "{% set ns.x = ns.x.join([ns.x, ns.x, ns.x]) %}{% endfor %}{{ ns.x|length }}",
    _DOUBLE + "{% set ns.x = [ns.x, ns.x, ns.x]|join(ns.x) %}{% endfor %}{{ ns.x|length }}",
    _DOUBLE + "{% set ns.x = '%s%s' % (ns.x, ns.x) %}{% endfor %}{{ ns.x|length }}",
    _DOUBLE + "{% set ns.x = '%s%s'|format(ns.x, ns.x) %}{% endfor %}{{ ns.x|length }}",
    _DOUBLE + "{% set ns.x = '{}{}'.format(ns.x, ns.x) %}{% endfor %}{{ ns.x|length }}",
    _DOUBLE + "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}{{ ns.x|length }}",
    _DOUBLE + "{% set ns.x = [ns.x, ns.x]|string %}{% endfor %}{{ ns.x|length }}",
    _DOUBLE + "{% set ns.x = [ns.x, ns.x]|tojson %}{% endfor %}{{ ns.x|length }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x]|sum(start=[]) %}{% endfor %}",
    "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = ns.x + ['a' * 7000000 ~ i] %}{% endfor %}",
    "{{ 'a' * 10 ** 10 }}",
    "{{ 10 ** 10 * [1] }}",
    "{{ 9 ** (9 ** 9) }}",
    "{{ 'a'.ljust(4000000000) }}",
    "{{ 'a'.center(4000000000) }}",
    "{{ '1'.zfill(4000000000) }}",
    "{{ '\t'.expandtabs(4000000000) }}",
    "{{ 'a'|center(4000000000) }}",
    "{{ 'a\nb'|indent(4000000000) }}",
    "{{ ['a']|batch(4000000000, 'x')|list|length }}",
    "{{ ['a']|slice(4000000000)|list|length }}",
    "{{ ['a']|tojson(indent=4000000000) }}",
    "{{ '%4000000000d' % 1 }}",
    "{{ '%*d' % (2000000000, 1) }}",
    "{{ '%.4000000000f' % 1 }}",
    "{{ '%2000000000s'|format('x') }}",
    "{{ '{:>4000000000}'.format(1) }}",
    "{{ '{:>{w}}'.format(1, w=4000000000) }}",
    "{{ range(10 ** 10)|list|length }}",
    "{{ (1).to_bytes(4000000000, 'big') }}",
    "{{ 'aé'.encode().ljust(4000000000) }}",
    "{% set x = 'a' * 8000000 %}{% for i in range(100000) %}{% if 'b' in x %}{% endif %}{% endfor %}",
    "{% set x = 'a' * 8000000 %}{% for i in range(100000) %}{% if x|upper|length %}{% endif %}{% endfor %}",
    "{% set x = range(100000)|list %}{% for i in x %}{% if x|sort|length %}{% endif %}{% endfor %}",
    "{% set x = range(100000)|list %}" + "{{ x|map('string')|join|length }}" * 2000,
    "{{ '" + "(" * 200_000 + "' }}{% if " + "(" * 2_000 + "1" + ")" * 2_000 + " %}{% endif %}",
    "{{ " + "-" * 20_000 + "1 }}",
    "{{ " + "[" * 20_000 + "]" * 20_000 + " }}",
    "{% if 1 %}" * 5_000,
)

_TWICE = "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}"
_TREES = (
    _TWICE + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    _TWICE + "{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
    _TWICE + "{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ {ns.x: 1} }}",
    _TWICE + "{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x|tojson }}",
    _TWICE + "{% set ns.x = namespace(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x }}",
    _TWICE + "{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x|pprint }}",
    _TWICE + "{% set ns.x = [ns.x]|list + [ns.x] %}{% endfor %}{{ ns.x|string }}",
    _TWICE + "{% set ns.x = [ns.x] * 2 %}{% endfor %}{{ ns.x ~ '' }}",
    "{{ ('é' * 8000000).encode('punycode')|length }}",
    "{{ ('a' * 8000000).encode('idna')|length }}",
    "{{ ('a' * 4000).translate({97: 'b' * 8000000})|length }}",
    "{% for i in range(100) %}{{ ('<' * 8000000)|striptags|length }}{% endfor %}",
    "{% for i in range(100) %}{{ ('<a ' * 2000000)|striptags|length }}{% endfor %}",
    "{% for i in range(100) %}{{ ('www.' * 2000000)|urlize|length }}{% endfor %}",
    "{% for i in range(100) %}{{ ('a ' * 4000000)|wordwrap(1)|length }}{% endfor %}",
    "{% for i in range(100) %}{{ ('a' * 8000000)|wordwrap(1)|length }}{% endfor %}",
    "{% for i in range(100) %}{{ ('a-' * 4000000)|title|length }}{% endfor %}",
    "{% for i in range(100) %}{{ ('&' * 8000000)|escape|length }}{% endfor %}",
    "{% for i in range(100) %}{{ ('a' * 8000000)|urlencode|length }}{% endfor %}",
    "{% for i in range(100) %}{{ ('ab,' * 2000000).split(',')|sort|length }}{% endfor %}",
)

SOUND = "{% for m in messages %}<{{ m.role }}>{{ m.content|trim }}\n{% endfor %}{{ '%5.1f' % 2 }}{{ 'a'.ljust(8) }}"


def _renders(template: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        del folder
        _text(template)

    return act


def _discloses(template: str) -> Callable[[Path], None]:
    """For escapes: what the sandbox hides is undefined, and prints as nothing, which is no escape."""

    def act(folder: Path) -> None:
        del folder
        if text := _text(template):
            raise AssertionError(f"the template got {text[:100]!r}")
        raise InvalidRequest("it got nothing")

    return act


def _text(template: str) -> str:
    return render(template, CHAT, special_tokens={"bos_token": "<s>", "eos_token": "</s>"})


def _short(template: str) -> str:
    text = template.replace(_DOUBLE, "doubling: ")
    return text if len(text) < 90 else f"{text[:40]} ... {text[-40:]}"


CASES = (
    Case("a sound template", _renders(SOUND), refused=()),
    *(Case(_short(template), _discloses(template), REFUSED) for template in ESCAPES),
    *(Case(_short(template), _renders(template), REFUSED, most_mib=512) for template in RUNAWAYS + _TREES),
)
