"""Fields that `/v1/completions` and `/v1/chat/completions` share: OpenAI's, and vLLM's extras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from deployments.front_door.schemas.base import RoutedBody, Strict

MAX_COUNT = 2**31 - 1  # what anything downstream takes for a count


def _strings(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ValueError("must be a string or a list of strings")


Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Strings = Annotated[tuple[str, ...], BeforeValidator(_strings)]


class StreamOptions(Strict):
    """`include_usage` adds a last chunk with the usage; `continuous_usage_stats` puts it on every chunk."""

    include_usage: bool = False
    continuous_usage_stats: bool = False
    include_obfuscation: bool = False  # padding against traffic analysis: accepted, none is added


class JsonSchema(Strict):
    """`response_format.json_schema`. Output always follows the schema, whatever `strict` says."""

    name: str = "schema"
    description: str = ""
    schema_: dict[str, Any] = Field(alias="schema", default_factory=dict)
    strict: bool | None = None


class ResponseFormat(Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(Strict):
    """vLLM's `structured_outputs`; exactly one of its fields may be set."""

    json_: dict[str, Any] | None = Field(alias="json", default=None)
    regex: str | None = None
    choice: list[str] | None = None
    json_object: bool | None = None


class GenerationBody(RoutedBody):
    """What both generation endpoints take. None means the model's default, or that nothing was asked for."""

    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MAX_COUNT)] = 1
    max_tokens: Count | None = None
    min_tokens: Count = 0
    stop: Strings = ()
    stop_token_ids: list[Count] = Field(default_factory=list)
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=MAX_COUNT)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] = Field(default_factory=dict)
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    priority: Annotated[int, Field(ge=-MAX_COUNT, le=MAX_COUNT)] = 0
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: dict[str, Any] | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None

    ignored: ClassVar[frozenset[str]] = frozenset(
        {
            "metadata",
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
            "request_id",
            "safety_identifier",
            "service_tier",
            "store",
            "user",
        }
    )
    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "allowed_token_ids": ([],),
        "bad_words": ([],),
        "cache_salt": (),
        "detokenize": (True,),
        "guided_grammar": (),
        "kv_transfer_params": (),
        "length_penalty": (1, 1.0),
        "logits_processors": ([],),
        "prompt_logprobs": (),
        "return_token_ids": (False,),
        "return_tokens_as_token_ids": (False,),
        "spaces_between_special_tokens": (True,),
        "structural_tag": (),
        "truncate_prompt_tokens": (),
        "use_beam_search": (False,),
        "vllm_xargs": ({},),
    }
