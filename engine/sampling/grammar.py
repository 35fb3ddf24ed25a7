"""Constrained output: grammars compiled by xgrammar, checked first, and kept.

xgrammar is imported with the first grammar, not before: it brings transformers along.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from engine.errors import InvalidRequest
from engine.request import GrammarSpec
from engine.sampling.grammar_check import GrammarChecker, GrammarLimits
from engine.sampling.grammar_state import CompiledGrammar
from engine.sampling.json_schema import check_json_schema

_ANY_OBJECT = '{"type": "object"}'
# Without a bound, small models that are kept from everything else write blanks for ever.
_MAX_BLANKS = 8
_MAX_REASON = 300  # characters
_PARAMS = {"json_object": "response_format", "json_schema": "response_format", "regex": "regex"}
_NAMES = {"json_object": "grammar", "json_schema": "JSON schema", "regex": "regular expression"}
# xgrammar's messages start with the time and the place in its source, then perhaps the check that failed.
_NOISE = re.compile(r"^\[[\d:]+\] \S+:\d+: (Check failed: \(.*?\) is false: )?")
# Control characters have no place in JSON but between values, yet xgrammar lets them into strings with a length (and
# no line ends into any). Tabs between values are no loss.
_NOT_IN_JSON = re.compile(rb"[\x00-\x09\x0b\x0c\x0e-\x1f]")
_NO_TOKENS = np.empty(0, dtype=np.int64)


class GrammarTokenizer(Protocol):
    """What is needed of `engine.text.tokenizer.Tokenizer`."""

    @property
    def backend(self) -> Any: ...  # tokenizers.Tokenizer

    def token_bytes(self, token_id: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Tools:
    """What the first grammar brings into being."""

    checker: GrammarChecker
    compiler: Any  # xgrammar.GrammarCompiler
    not_json: np.ndarray  # tokens that no JSON text may contain


class GrammarCompiler:
    """Compiles grammars for one model and keeps the recent ones.

    `vocabulary` is the width of the model's head, which may be larger than the tokenizer's vocabulary. `compile` is
    thread-safe and blocks (the first time for a second or two, to start a process): keep it off the engine's thread.
    """

    def __init__(
        self,
        tokenizer: GrammarTokenizer,
        vocabulary: int,
        eos_token_ids: tuple[int, ...],
        limits: GrammarLimits | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._eos_token_ids = tuple(token for token in eos_token_ids if 0 <= token < vocabulary)
        self._limits = limits or GrammarLimits()
        self._cache: OrderedDict[tuple[str, str], CompiledGrammar | str] = OrderedDict()  # str: what is wrong with it
        self._cache_lock = threading.Lock()
        self._compile_lock = threading.Lock()
        self._tools: _Tools | None = None

    def compile(self, spec: GrammarSpec, tried: bool = False) -> CompiledGrammar:
        """The compiled grammar, perhaps from the cache. InvalidRequest says what is wrong with the source.

        `tried` elsewhere, it is not tried in another process first: whoever resumes a request with it shall not wait
        until that has started.
        """
        key = (spec.kind, "" if spec.kind == "json_object" else spec.source)
        found = self._cached(key)
        if found is None:
            self._check_source(spec)
            with self._compile_lock:
                found = self._cached(key)  # another thread may have been at it
                if found is None:
                    found = self._compile(spec, tried)
                    self._keep(key, found)
        if isinstance(found, str):
            raise _invalid(spec, found)
        return found

    def close(self) -> None:
        """End the checking process. A later `compile` starts another."""
        with self._compile_lock:
            if self._tools is not None:
                self._tools.checker.close()

    def _check_source(self, spec: GrammarSpec) -> None:
        if spec.kind == "json_object":
            return
        try:
            size = len(spec.source.encode())
        except UnicodeEncodeError:
            raise _invalid(spec, "it is not valid Unicode") from None
        if size > self._limits.source_bytes:
            raise _invalid(spec, f"it has {size} bytes, and {self._limits.source_bytes} are allowed")
        if spec.kind == "json_schema":
            check_json_schema(spec.source)
        elif not spec.source:
            raise _invalid(spec, "it is empty")

    def _compile(self, spec: GrammarSpec, tried: bool) -> CompiledGrammar | str:
        if self._tools is None:
            self._tools = self._load()
        error = None if tried else self._tools.checker.check(spec)
        if error is not None:
            return _reason(error)
        try:
            handle = compile_spec(self._tools.compiler, {"kind": spec.kind, "source": spec.source})
        except RuntimeError as caught:
            return _reason(str(caught))
        forbidden = _NO_TOKENS if spec.kind == "regex" else self._tools.not_json
        return CompiledGrammar(handle, self._eos_token_ids, forbidden)

    def _load(self) -> _Tools:
        import xgrammar

        texts = self._token_bytes()
        info = xgrammar.TokenizerInfo(
            texts,
            xgrammar.VocabType.RAW,
            vocab_size=self._vocabulary,
            stop_token_ids=list(self._eos_token_ids),
        )
        compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        not_json = [token for token, text in enumerate(texts) if _NOT_IN_JSON.search(text)]
        checker = GrammarChecker(info.serialize_json(), self._limits)
        return _Tools(checker, compiler, np.array(not_json, dtype=np.int64))

    def _token_bytes(self) -> list[bytes]:
        """Each token's bytes; none for special tokens and the head's padding, which xgrammar then never allows."""
        backend = self._tokenizer.backend
        special = {token for token, added in backend.get_added_tokens_decoder().items() if added.special}
        return [
            b"" if token in special or backend.id_to_token(token) is None else self._tokenizer.token_bytes(token)
            for token in range(self._vocabulary)
        ]

    def _cached(self, key: tuple[str, str]) -> CompiledGrammar | str | None:
        with self._cache_lock:
            found = self._cache.get(key)
            if found is not None:
                self._cache.move_to_end(key)
            return found

    def _keep(self, key: tuple[str, str], value: CompiledGrammar | str) -> None:
        with self._cache_lock:
            self._cache[key] = value
            used = sum(one.memory_bytes for one in self._cache.values() if isinstance(one, CompiledGrammar))
            while len(self._cache) > self._limits.cached or (used > self._limits.cached_bytes and len(self._cache) > 1):
                _, dropped = self._cache.popitem(last=False)
                used -= dropped.memory_bytes if isinstance(dropped, CompiledGrammar) else 0


def compile_spec(compiler: Any, spec: Mapping[str, Any]) -> Any:
    """Compile {kind, source} with an xgrammar.GrammarCompiler; raises whatever that raises."""
    if spec["kind"] == "regex":
        return compiler.compile_regex(spec["source"])
    schema = _ANY_OBJECT if spec["kind"] == "json_object" else spec["source"]
    return compiler.compile_json_schema(schema, max_whitespace_cnt=_MAX_BLANKS)


def _reason(error: str) -> str:
    """What a person can use of a message of xgrammar's, which may quote the whole source."""
    text = _NOISE.sub("", error).split("The JSON string is:")[0].strip().rstrip(".")
    return text if len(text) <= _MAX_REASON else text[:_MAX_REASON] + "..."


def _invalid(spec: GrammarSpec, reason: str) -> InvalidRequest:
    return InvalidRequest(f"This {_NAMES[spec.kind]} cannot be used: {reason}.", param=_PARAMS[spec.kind])
