"""From a checked body to the engine's sampling parameters: defaults, limits, seeds, grammars."""

from __future__ import annotations

import json
import re
import secrets

from deployments.front_door.schemas.chat import ChatBody
from deployments.front_door.schemas.completions import CompletionBody
from deployments.front_door.schemas.generation import GenerationBody, ResponseFormat
from deployments.front_door.served_models import GenerationModel
from deployments.front_door.service import Limits
from engine.errors import InvalidRequest
from engine.request import GrammarSpec, SamplingParams

GREEDY_BELOW = 1e-5
"""Temperatures under this are greedy: dividing by them would overflow, and they mean nothing else."""

_SEED_MASK = 2**63 - 1
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: multiples of it are spread evenly over the seeds


def base_sampling(body: CompletionBody | ChatBody, model: GenerationModel, limits: Limits) -> SamplingParams:
    """The parameters that all sequences of a request share; `max_tokens` and `seed` are set for each one later.

    Raises `InvalidRequest` for what is over a limit or not in the vocabulary.
    """
    _check_limits(body, limits)
    asked_tokens(body)
    defaults = model.defaults
    temperature = defaults.temperature if body.temperature is None else body.temperature
    top_k = defaults.top_k if body.top_k is None else max(0, body.top_k)
    logprobs = _logprobs(body, limits)
    for position, token in enumerate(body.stop_token_ids):
        _check_token(token, model, f"stop_token_ids[{position}]")
    return SamplingParams(
        max_tokens=0,
        temperature=0.0 if temperature < GREEDY_BELOW else temperature,
        top_k=0 if top_k >= model.vocab_size else top_k,
        top_p=defaults.top_p if body.top_p is None else body.top_p,
        min_p=defaults.min_p if body.min_p is None else body.min_p,
        repetition_penalty=defaults.repetition_penalty if body.repetition_penalty is None else body.repetition_penalty,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        logit_bias=_logit_bias(body, model),
        logprobs=logprobs,
        prompt_logprobs=logprobs if isinstance(body, CompletionBody) and body.echo else None,
        stop_token_ids=tuple(body.stop_token_ids),
        min_tokens=body.min_tokens,
        ignore_eos=body.ignore_eos,
        grammar=grammar(body, limits),
    )


def asked_tokens(body: CompletionBody | ChatBody) -> int | None:
    """How many tokens the caller wants at most; None leaves it to the context. More than the context has room for is
    cut to that, and the answer then says `length`."""
    asked, param = body.max_tokens, "max_tokens"
    if isinstance(body, ChatBody) and body.max_completion_tokens is not None:
        asked, param = body.max_completion_tokens, "max_completion_tokens"
    if asked == 0 and not (isinstance(body, CompletionBody) and body.echo):
        raise InvalidRequest(f"'{param}' must be at least 1 (0 is for 'echo' only).", param=param)
    if asked and body.min_tokens > asked:
        raise InvalidRequest(f"'min_tokens' is {body.min_tokens}, over '{param}': {asked}.", param="min_tokens")
    return asked


def draw_seed(asked: int | None) -> int:
    """The caller's seed, or a new one. Drawn here and not in the engine, so that a request that is resumed elsewhere
    draws the same tokens."""
    return secrets.randbits(63) if asked is None else asked & _SEED_MASK


def derive_seed(seed: int, choice: int) -> int:
    """The seed of the `choice`-th of `n` answers to one prompt. The first one has the request's own."""
    return (seed + choice * _GOLDEN) & _SEED_MASK


def grammar(body: GenerationBody, limits: Limits) -> GrammarSpec | None:
    """What constrains the output, if anything. Raises `InvalidRequest`, also when two things ask to."""
    found: dict[str, GrammarSpec] = {}
    if body.response_format is not None:
        spec = _response_format(body.response_format, limits)
        if spec is not None:
            found["response_format"] = spec
    if body.guided_json is not None:
        found["guided_json"] = _schema(body.guided_json, "guided_json", limits)
    if body.guided_regex is not None:
        found["guided_regex"] = _regex(body.guided_regex, "guided_regex", limits)
    if body.guided_choice is not None:
        found["guided_choice"] = _choice(body.guided_choice, "guided_choice", limits)
    if (structured := body.structured_outputs) is not None:
        if structured.json_ is not None:
            found["structured_outputs.json"] = _schema(structured.json_, "structured_outputs.json", limits)
        if structured.regex is not None:
            found["structured_outputs.regex"] = _regex(structured.regex, "structured_outputs.regex", limits)
        if structured.choice is not None:
            found["structured_outputs.choice"] = _choice(structured.choice, "structured_outputs.choice", limits)
        if structured.json_object:
            found["structured_outputs.json_object"] = GrammarSpec("json_object")
    if len(found) > 1:
        names = "' and '".join(found)
        raise InvalidRequest(f"'{names}' both constrain the output. Choose one.", param=next(iter(found)))
    return next(iter(found.values()), None)


def _response_format(asked: ResponseFormat, limits: Limits) -> GrammarSpec | None:
    if asked.type == "text":
        return None
    if asked.type == "json_object":
        return GrammarSpec("json_object")
    if asked.json_schema is None:
        raise InvalidRequest(
            "'response_format' of type json_schema needs 'json_schema'.", param="response_format.json_schema"
        )
    return _schema(asked.json_schema.schema_, "response_format.json_schema.schema", limits)


def _schema(schema: dict[str, object], param: str, limits: Limits) -> GrammarSpec:
    try:
        source = json.dumps(schema, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise InvalidRequest(f"'{param}' holds a number that JSON cannot express.", param=param) from None
    return GrammarSpec("json_schema", _bounded(source, param, limits))


def _regex(pattern: str, param: str, limits: Limits) -> GrammarSpec:
    if not pattern:
        raise InvalidRequest(f"'{param}' is empty.", param=param)
    return GrammarSpec("regex", _bounded(pattern, param, limits))


def _choice(choices: list[str], param: str, limits: Limits) -> GrammarSpec:
    if not choices or not all(choices):
        raise InvalidRequest(f"'{param}' must be a list of strings that are not empty.", param=param)
    pattern = "|".join(re.sub(r"([\\^$.|?*+()\[\]{}])", r"\\\1", choice) for choice in choices)
    return GrammarSpec("regex", _bounded(f"({pattern})", param, limits))


def _bounded(source: str, param: str, limits: Limits) -> str:
    if len(source) > limits.max_schema_length:
        limit = f"{limits.max_schema_length:,}"
        raise InvalidRequest(f"'{param}' is {len(source):,} characters long; the limit is {limit}.", param=param)
    return source


def _logprobs(body: CompletionBody | ChatBody, limits: Limits) -> int | None:
    if isinstance(body, ChatBody):
        if body.top_logprobs and not body.logprobs:
            raise InvalidRequest("'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
        count, param = (body.top_logprobs if body.logprobs else None), "top_logprobs"
    else:
        count, param = body.logprobs, "logprobs"
    if count is not None and count > limits.max_logprobs:
        raise InvalidRequest(f"'{param}' is {count}; the limit is {limits.max_logprobs}.", param=param)
    return count


def _logit_bias(body: GenerationBody, model: GenerationModel) -> dict[int, float]:
    bias = {}
    for key, value in body.logit_bias.items():
        if not (key.isascii() and key.isdigit() and len(key) <= 10):
            raise InvalidRequest(f"'logit_bias' has the key '{key[:40]}', which is not a token id.", param="logit_bias")
        _check_token(int(key), model, "logit_bias")
        bias[int(key)] = float(value)
    return bias


def _check_token(token: int, model: GenerationModel, param: str) -> None:
    if not 0 <= token < model.vocab_size:
        raise InvalidRequest(
            f"'{param}': token id {token} is not in the vocabulary of {model.vocab_size} tokens.", param=param
        )


def _check_limits(body: GenerationBody, limits: Limits) -> None:
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("'stream_options' needs 'stream': true.", param="stream_options")
    for param, count, limit in (
        ("n", body.n, limits.max_n),
        ("stop", len(body.stop), limits.max_stop_strings),
        ("stop_token_ids", len(body.stop_token_ids), limits.max_stop_token_ids),
        ("logit_bias", len(body.logit_bias), limits.max_logit_bias),
    ):
        if count > limit:
            raise InvalidRequest(f"'{param}' asks for {count:,}; the limit is {limit:,}.", param=param)
    if not all(body.stop):
        raise InvalidRequest("'stop' holds an empty string.", param="stop")
    if (length := sum(map(len, body.stop))) > limits.max_stop_characters:
        most = f"{limits.max_stop_characters:,}"
        raise InvalidRequest(f"'stop' has {length:,} characters in all; the limit is {most}.", param="stop")
