"""One request's caller: what it may use, and what it used."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, TypeVar

from deployments.access.account import Account
from deployments.access.patterns import may_use, may_use_variant, only
from deployments.variants import VariantInfo

CALLER_KEY = "stageline.caller"
M = TypeVar("M")


class Caller:
    """Whoever sent a request. Without an account it is anybody, on a server without keys, who may use everything.

    The expected tokens are reserved at the beginning; what was really used is counted on the way, and the difference is
    corrected by `close`. A prompt counts once, however many answers it gets, as in `usage`.
    """

    __slots__ = ("_account", "_closed", "_prompts", "_reserved", "_used")

    def __init__(self, account: Account | None = None) -> None:
        self._account = account
        self._closed = False
        self._reserved = 0.0
        self._used = 0
        self._prompts: set[int] = set()

    @property
    def name(self) -> str | None:
        """The key's name."""
        return None if self._account is None else self._account.key.name

    @property
    def weight(self) -> float:
        """How much more than others it may have when all wait."""
        return 1.0 if self._account is None else self._account.key.weight

    @property
    def has_token_limit(self) -> bool:
        return self._account is not None and self._account.key.limits.tokens_per_minute is not None

    def models(self, served: Mapping[str, M]) -> Mapping[str, M]:
        """Those of the served models that it may use."""
        if self._account is None:
            return served
        patterns = self._account.key.models
        return {name: model for name, model in served.items() if may_use(patterns, name)}

    def variants(self, model: str, variants: Sequence[VariantInfo]) -> Sequence[VariantInfo]:
        """Those of a model's variants that it may use."""
        if self._account is None:
            return variants
        patterns = self._account.key.models
        return [variant for variant in variants if may_use_variant(patterns, model, variant.name)]

    def only(self, model: str, variants: Sequence[VariantInfo]) -> frozenset[str] | None:
        """The names of the variants that it may use; None for all."""
        if self._account is None:
            return None
        return only(self._account.key.models, model, (variant.name for variant in variants))

    def reserve(self, tokens: float) -> None:
        """Takes the tokens that the request is expected to use. Raises RateLimited."""
        if self._account is not None:
            self._account.reserve(tokens)
            self._reserved += tokens

    def read(self, tokens: int, prompt: int = 0) -> None:
        """A prompt of so many tokens was computed, the request's first or another."""
        if self._account is not None and prompt not in self._prompts:
            self._prompts.add(prompt)
            self._used += tokens

    def wrote(self, tokens: int) -> None:
        """So many tokens were generated."""
        self._used += tokens

    def close(self) -> None:
        """The request has ended."""
        if self._account is not None and not self._closed:
            self._closed = True
            self._account.settle(self._reserved, self._used)
            self._account.end()


ANYBODY = Caller()


def caller_in(scope: MutableMapping[str, Any]) -> Caller:
    """Whose request an ASGI scope is of."""
    found = scope.get(CALLER_KEY)
    return found if isinstance(found, Caller) else ANYBODY
