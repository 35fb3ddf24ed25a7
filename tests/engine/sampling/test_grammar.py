from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import InvalidRequest
from engine.request import GrammarSpec, SamplingParams
from engine.sampling import GrammarCompiler, GrammarLimits, GrammarState, Row, sample
from tests.engine.sampling.byte_tokenizer import ByteTokenizer
from tests.engine.sampling.reference import make_logits

TOKENIZER = ByteTokenizer()
EOS = TOKENIZER.eos
HEAD = 301  # the model's head: wider than the tokenizer's vocabulary, and no multiple of anything
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age"],
}


@pytest.fixture(scope="module")
def compiler() -> Iterator[GrammarCompiler]:
    compiler = GrammarCompiler(TOKENIZER, HEAD, (EOS,), GrammarLimits(cpu_s=10))
    yield compiler
    compiler.close()


def schema(value: Any) -> GrammarSpec:
    return GrammarSpec("json_schema", json.dumps(value))


def regex(source: str) -> GrammarSpec:
    return GrammarSpec("regex", source)


def make_row(state: GrammarState | None, seed: int = 0, generated: tuple[int, ...] = (), **options: Any) -> Row:
    return Row(SamplingParams(max_tokens=200, seed=seed, **options), (1, 2), list(generated), (EOS,), state)


def generate(state: GrammarState, seed: int, limit: int = 200, **options: Any) -> list[int]:
    """Tokens up to the end-of-sequence token, from random logits that lean towards ending things."""
    row = make_row(state, seed, **options)
    for step in range(limit):
        logits = make_logits(1, HEAD, seed=1000 * seed + step, spread=1.0)
        logits[0, list(b'"}]0')] += 3
        row.generated.append(sample(logits, [row])[0].token)
        if row.generated[-1] == EOS:
            break
    return row.generated


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("options", [{}, {"temperature": 0.0}, {"top_k": 5, "top_p": 0.9}])
def test_output_matches_its_schema(compiler: GrammarCompiler, seed: int, options: dict[str, Any]) -> None:
    tokens = generate(compiler.compile(schema(PERSON)).state(), seed, **options)
    assert tokens[-1] == EOS
    person = json.loads(TOKENIZER.decode(tokens))
    assert person.keys() <= PERSON["properties"].keys()  # type: ignore[attr-defined]
    assert len(person["name"]) <= 8
    assert 0 <= person["age"] <= 150
    assert set(person.get("tags", [])) <= {"a", "b"}


@pytest.mark.parametrize("seed", range(4))
def test_json_object_is_any_object_and_nothing_else(compiler: GrammarCompiler, seed: int) -> None:
    tokens = generate(compiler.compile(GrammarSpec("json_object")).state(), seed, temperature=0.5)
    assert isinstance(json.loads(TOKENIZER.decode(tokens)), dict)


@pytest.mark.parametrize("source", ["(yes|no|maybe)", "[a-f0-9]{4}-[0-9]+", "é{2,3}", "a*"])
@pytest.mark.parametrize("seed", range(3))
def test_output_matches_its_regular_expression(compiler: GrammarCompiler, source: str, seed: int) -> None:
    tokens = generate(compiler.compile(regex(source)).state(), seed)
    assert re.fullmatch(source, TOKENIZER.decode(tokens).decode())


@pytest.mark.parametrize("limits", [{}, {"maxLength": 9}, {"minLength": 2}, {"pattern": "^[^a]+$"}])
def test_control_characters_stay_out_of_strings(compiler: GrammarCompiler, limits: dict[str, Any]) -> None:
    state = compiler.compile(schema({"type": "string", **limits})).state()
    state.advance(list(b'"b'))
    allowed = state.allowed(HEAD)
    assert allowed[ord("c")]
    assert not allowed[:32].any()


def test_blanks_come_to_an_end(compiler: GrammarCompiler) -> None:
    state = compiler.compile(GrammarSpec("json_object")).state()
    state.advance([ord("{")])
    blanks = 0
    while state.allowed(HEAD)[ord(" ")] and blanks < 100:
        assert state.accept(ord(" "))
        blanks += 1
    assert 4 <= blanks <= 20


def test_special_tokens_padding_and_holes_are_never_allowed(compiler: GrammarCompiler) -> None:
    state = compiler.compile(regex(".*")).state()
    allowed = state.allowed(HEAD)
    assert allowed[EOS]
    assert not allowed[TOKENIZER.special]
    assert not allowed[256 + 12]
    assert not allowed[TOKENIZER.size :].any()
    assert allowed[: 256 + 11].any()
    assert state.allowed(HEAD + 64).tolist() == [*allowed, *[False] * 64]


def test_after_the_end_only_stop_tokens_are_allowed(compiler: GrammarCompiler) -> None:
    state = compiler.compile(regex("ab")).state(stop_token_ids=(ord("!"),))
    assert np.flatnonzero(state.allowed(HEAD)).tolist() == [ord("a")]
    state.advance(list(b"ab"))
    before = state.is_terminated
    assert not before
    ends = sorted([EOS, ord("!")])
    assert np.flatnonzero(state.allowed(HEAD)).tolist() == ends
    for token in (EOS, EOS, ord("!")):  # as with ignore_eos
        assert state.accept(token)
        assert state.is_terminated
        assert np.flatnonzero(state.allowed(HEAD)).tolist() == ends


def test_a_token_without_a_place_ends_the_constrained_text(compiler: GrammarCompiler) -> None:
    state = compiler.compile(regex("ab+")).state()
    assert state.accept(ord("a"))
    assert not state.accept(ord("x"))
    assert state.is_terminated
    assert np.flatnonzero(state.allowed(HEAD)).tolist() == [EOS]
    assert not state.accept(ord("b"))


def test_a_stop_token_cannot_come_before_the_text_is_complete(compiler: GrammarCompiler) -> None:
    state = compiler.compile(regex("a!?b")).state(stop_token_ids=(ord("!"),))
    state.accept(ord("a"))
    assert np.flatnonzero(state.allowed(HEAD)).tolist() == [ord("b")]


def test_min_tokens_cannot_keep_a_finished_text_from_ending(compiler: GrammarCompiler) -> None:
    grammar = compiler.compile(regex("ab|abc*"))
    logits = torch.zeros(1, HEAD)
    logits[0, EOS] = 50
    longer = make_row(grammar.state(), generated=tuple(b"ab"), min_tokens=4)
    assert sample(logits, [longer])[0].token == ord("c")
    finished = make_row(compiler.compile(regex("ab")).state(), generated=tuple(b"ab"), min_tokens=4)
    assert sample(logits, [finished])[0].token == EOS


@pytest.mark.parametrize("seed", range(3))
def test_a_resumed_row_goes_on_as_the_uninterrupted_one(compiler: GrammarCompiler, seed: int) -> None:
    grammar = compiler.compile(schema(PERSON))
    whole = generate(grammar.state(), seed)
    for cut in range(len(whole)):
        row = make_row(grammar.state(), seed, tuple(whole[:cut]))
        logits = make_logits(1, HEAD, seed=1000 * seed + cut, spread=1.0)
        logits[0, list(b'"}]0')] += 3
        assert sample(logits, [row])[0].token == whole[cut]


def test_neighbours_never_matter(compiler: GrammarCompiler) -> None:
    grammar = compiler.compile(schema(PERSON))
    logits = make_logits(6, HEAD, seed=7)

    def rows() -> list[Row]:
        begun = tuple(b'{"name": "x')
        return [
            make_row(grammar.state() if i % 2 else None, i, begun, logprobs=2, temperature=float(i > 3))
            for i in range(6)
        ]

    together = sample(logits, rows())
    assert together == [sample(logits[i : i + 1], [row])[0] for i, row in enumerate(rows())]


def test_logprobs_are_taken_after_the_grammar(compiler: GrammarCompiler) -> None:
    row = make_row(compiler.compile(regex("a|b")).state(), logprobs=5)
    (result,) = sample(torch.zeros(1, HEAD), [row])
    assert result.logprobs is not None
    assert [token for token, _ in result.logprobs.top] == [ord("a"), ord("b")]
    assert result.logprobs.logprob == pytest.approx(np.log(0.5))


def test_equal_sources_are_compiled_once_and_the_oldest_are_dropped() -> None:
    compiler = GrammarCompiler(TOKENIZER, HEAD, (EOS,), GrammarLimits(cached=2))
    try:
        first = compiler.compile(regex("a"))
        assert compiler.compile(regex("a")) is first
        compiler.compile(regex("b"))
        compiler.compile(regex("a"))
        with pytest.raises(InvalidRequest):
            compiler.compile(regex("("))
        assert compiler.compile(regex("a")) is first
        compiler.compile(regex("b"))
        compiler.compile(regex("c"))
        assert compiler.compile(regex("a")) is not first
    finally:
        compiler.close()


def test_the_cache_is_bounded_in_bytes() -> None:
    compiler = GrammarCompiler(TOKENIZER, HEAD, (EOS,), GrammarLimits(cached_bytes=1))
    try:
        first = compiler.compile(regex("a"))
        assert compiler.compile(regex("a")) is first  # one is always kept
        compiler.compile(regex("b"))
        assert compiler.compile(regex("a")) is not first
    finally:
        compiler.close()


def test_a_model_without_an_end_needs_stop_tokens() -> None:
    compiler = GrammarCompiler(TOKENIZER, HEAD, ())
    try:
        grammar = compiler.compile(regex("a"))
        for useless in ((), (HEAD, -1, 10**9)):
            with pytest.raises(InvalidRequest, match="stop_token_ids"):
                grammar.state(useless)
        state = grammar.state([ord("!")])
        state.accept(ord("a"))
        assert np.flatnonzero(state.allowed(HEAD)).tolist() == [ord("!")]
    finally:
        compiler.close()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("(", "parenthesis is not closed"),
        ("*a", "Expect element"),
        ("[z-a]", "lower bound is larger than upper bound"),
        (r"(a)\1", "Backreference is not supported"),
        ("a\ud800", "not valid Unicode"),
        ("a\0b", "null"),
        ("", "empty"),
        ("a" * 70_000, "70000 bytes, and 65536 are allowed"),
    ],
)
def test_bad_regular_expressions_are_refused(compiler: GrammarCompiler, source: str, reason: str) -> None:
    for _ in range(2):  # the second time from the cache
        with pytest.raises(InvalidRequest, match=reason) as caught:
            compiler.compile(regex(source))
        assert caught.value.param == "regex"
        assert "/project/" not in caught.value.message


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"type": "banana"}, "banana"),
        ({"type": "string", "pattern": "("}, "parenthesis"),
        ({"$ref": "#/$defs/missing"}, r"\$defs"),
        ({"$ref": "#"}, "no text matches it"),
        ({"enum": []}, "must not be empty"),
        (False, "cannot accept any value"),
        ({"const": "\ud800"}, "JSON"),
        ({"type": "integer", "minimum": 5, "maximum": 1}, "minimum greater than maximum"),
    ],
)
def test_schemas_that_cannot_compile_are_refused(compiler: GrammarCompiler, value: Any, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as caught:
        compiler.compile(schema(value))
    assert caught.value.param == "response_format"
    assert len(caught.value.message) < 500


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="ab()[]{}|*+?.^$\\-,0129\n:=!<>", max_size=14))
def test_no_regular_expression_does_worse_than_being_refused(compiler: GrammarCompiler, source: str) -> None:
    try:
        state = compiler.compile(regex(source)).state()
    except InvalidRequest:
        return
    assert state.allowed(HEAD).any()


KEYWORDS = st.sampled_from(
    ["type", "properties", "items", "anyOf", "allOf", "$ref", "enum", "const", "required", "minLength", "pattern"]
) | st.sampled_from(
    ["maximum", "multipleOf", "minItems", "maxItems", "prefixItems", "additionalProperties", "format", "$defs"]
)
VALUES = st.recursive(
    st.sampled_from(["string", "integer", "object", "array", "#", "#/$defs/a", "a", -1, 0, 2, 1.5, True, False, None]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYWORDS | st.just("a"), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYWORDS, VALUES, max_size=4))
def test_no_schema_does_worse_than_being_refused(compiler: GrammarCompiler, value: dict[str, Any]) -> None:
    try:
        state = compiler.compile(schema(value)).state()
    except InvalidRequest:
        return
    assert state.allowed(HEAD).any()


def test_sampling_does_not_import_xgrammar_before_the_first_grammar() -> None:
    code = "import sys, engine.sampling; sys.exit('xgrammar' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
