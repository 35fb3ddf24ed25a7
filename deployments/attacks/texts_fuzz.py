"""Properties of everything that texts pass through, tried with texts that nobody writes: tokenizer, stop strings, the
state of a streamed answer, events and our own reader of them, schemas, markup.

Each is a function of what Hypothesis draws; it raises where the property does not hold.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from deployments.front_door.chunks import event
from deployments.front_door.prompts import Prompt
from deployments.front_door.text_state import ChoiceText, TextOptions
from deployments.front_door.translation.markup import Text, take_apart
from engine.errors import InvalidRequest
from engine.request import Delta, FinishReason
from engine.sampling.json_schema import check_json_schema
from engine.text.stop_strings import StopStrings
from engine.text.tokenizer import Tokenizer
from loadtest.streams import EventReader

_MARKS = (
    "<",
    ">",
    "&",
    "/",
    "-",
    "!",
    '"',
    "'",
    "=",
    " ",
    "a",
    "p",
    "\n",
    "<!--",
    "-->",
    "<a ",
    "</p>",
    "&amp;",
    "<pre>",
)

any_text = st.text(st.characters(exclude_categories=()))  # half surrogates included
sound_text = st.text()
few = st.text("ab\n", max_size=12)  # so few that stop strings are met
pieces = st.lists(st.integers(0, 5), max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
schema_keys = st.sampled_from(
    [
        "type",
        "properties",
        "required",
        "items",
        "anyOf",
        "allOf",
        "$ref",
        "$defs",
        "pattern",
        "enum",
        "minimum",
        "const",
    ]
)
schemas = st.recursive(
    json_values | st.sampled_from(["object", "array", "string", "#", "#/$defs/a"]),
    lambda inner: st.dictionaries(schema_keys, inner, max_size=5) | st.lists(inner, max_size=3),
    max_leaves=20,
)


@functools.cache
def byte_tokenizer() -> Tokenizer:
    """A token for each byte, and two that are special."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Backend(models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|end|>", "<|héllo|>"])
    return Tokenizer(backend, eos_token_ids=[256])


def cut(whole: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
    """`whole` in parts of these sizes, and the rest."""
    parts, at = [], 0
    for size in sizes:
        parts.append(whole[at : at + size])
        at += size
    return [*parts, whole[at:]]


@given(any_text)
def tokenizing(text: str) -> None:
    """A text is tokenized, or refused for what it is; as tokens it is still the same."""
    tokenizer = byte_tokenizer()
    try:
        tokens = tokenizer.encode(text)
    except InvalidRequest:
        assert any("\ud800" <= character <= "\udfff" for character in text)
        return
    assert tokenizer.decode(tokens, skip_special_tokens=False) == text


@given(few, pieces, st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=4), st.booleans())
def stopping(text: str, sizes: list[int], stops: list[str], keep: bool) -> None:
    """However a text is cut into pieces, it ends where it would as a whole."""
    whole, parts = StopStrings(stops, keep), StopStrings(stops, keep)
    expected, met = whole.push(text)
    expected += "" if met else whole.flush()
    found, stopped = "", False
    for part in cut(text, sizes):
        more, stopped = parts.push(part)
        found += more
        assert expected.startswith(found)
        if stopped:
            break
    assert (found + ("" if stopped else parts.flush()), stopped) == (expected, met)


@given(st.binary(max_size=60), pieces, st.lists(st.text(min_size=1, max_size=3), max_size=3), st.booleans())
def streaming(data: bytes, sizes: list[int], stops: list[str], logprobs: bool) -> None:
    """Any tokens, in any parts, come to the text that they are together, cut before the first stop string."""
    tokenizer = byte_tokenizer()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    order = {value: at for at, value in enumerate(tokenizer.token_bytes(at)[0] for at in range(len(alphabet)))}
    tokens = tuple(order[value] for value in data)
    state = ChoiceText(tokenizer, Prompt((0,)), TextOptions(stops=tuple(stops), logprobs=logprobs))
    text, finish = "", None
    parts = cut(tokens, sizes)
    for at, part in enumerate(parts):
        last = at == len(parts) - 1
        piece = state.push(Delta(part, FinishReason.LENGTH if last else None))
        text += piece.text
        if (finish := piece.finish_reason) is not None:
            break
    whole = data.decode(errors="replace")
    assert finish is not None
    assert whole.startswith(text)
    assert not any(stop in text for stop in stops)
    assert finish == "stop" or text == whole


@given(st.lists(json_values, max_size=4), pieces)
def events(values: list[Any], sizes: list[int]) -> None:
    """What is sent as events is read as them, however the network cuts it."""
    try:
        sent = b"".join(event(value) for value in values)
    except UnicodeEncodeError:
        return
    reader = EventReader()
    found = [one for part in cut(sent, sizes) for one in reader.feed(part)]
    assert [json.dumps(json.loads(one)) for one in found] == [json.dumps(value) for value in values]


@given(st.binary(max_size=200), pieces)
def broken_events(data: bytes, sizes: list[int]) -> None:
    """Any bytes are read as some events or none, the same ones however they are cut."""
    whole, parts = EventReader(), EventReader()
    expected = list(whole.feed(data))
    assert [one for part in cut(data, sizes) for one in parts.feed(part)] == expected


@given(schemas)
def schemas_checked(schema: Any) -> None:
    """Any JSON is a schema that can be used, or is refused."""
    try:
        check_json_schema(json.dumps(schema))
    except InvalidRequest:
        return


@given(any_text | st.lists(st.sampled_from(_MARKS), max_size=60).map("".join))
def markup(text: str) -> None:
    """Whatever a page is, all of it comes out again."""
    assert "".join(part.raw if isinstance(part, Text) else part for part in take_apart(text)) == text


PROPERTIES: tuple[Callable[[], None], ...] = (
    tokenizing,
    stopping,
    streaming,
    events,
    broken_events,
    schemas_checked,
    markup,
)


def tried(prove: Callable[[], None], examples: int) -> Callable[[], None]:
    """The property, to be tried with so many examples, always the same ones."""
    checks = list(HealthCheck)
    return settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=checks
    )(prove)
