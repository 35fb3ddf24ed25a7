"""API keys: what one is, and the file that they are in.

Of a key only its SHA-256 is kept. Passwords need slow hashes (bcrypt, argon2) because people choose guessable ones; a
key is 256 random bits, which nobody guesses however fast each try is, and a slow hash would cost every request its
time.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from deployments.access.patterns import PATTERN
from deployments.settings.problems import explain
from deployments.settings.section import Section, refuse_twice
from deployments.yaml_lines import YamlDocument, show
from engine.errors import ConfigError

PREFIX = "sk-stageline-"
Scope = Literal["admin", "metrics"]


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """The most that a key may ask for at each front door; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """`digest` is the SHA-256 of the key itself, `models` are patterns (see `patterns`), `expires_s` is Unix time.
    Where requests wait, a key may hold `weight` times as much as others."""

    name: str
    digest: bytes
    models: tuple[str, ...] = ()
    scopes: frozenset[Scope] = frozenset()
    limits: KeyLimits = KeyLimits()
    weight: float = 1.0
    expires_s: float | None = None

    def expired(self, now_s: float) -> bool:
        return self.expires_s is not None and now_s >= self.expires_s


def digest_of(key: bytes) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key).digest()


def new_secret() -> str:
    """A key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _moment(value: object) -> object:
    """YAML's dates are their first moment; without a time zone it is UTC."""
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


class LimitsSection(Section):
    """`limits` of a key."""

    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_minute: int | None = Field(None, ge=1)
    concurrent: int | None = Field(None, ge=1)


class KeySection(Section):
    """One key in the file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$", max_length=64)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    models: Annotated[tuple[str, ...], BeforeValidator(_listed)]
    scopes: Annotated[tuple[Scope, ...], BeforeValidator(_listed)] = ()
    limits: LimitsSection = LimitsSection()
    weight: float = Field(1.0, gt=0, le=1000, allow_inf_nan=False)
    expires: Annotated[datetime | None, BeforeValidator(_moment)] = None

    @field_validator("models")
    @classmethod
    def _are_patterns(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        for model in models:
            if not PATTERN.fullmatch(model):
                raise ValueError(f"'{model}' is no model; write model, model:variant, or either with * in it")
        return models

    def key(self) -> Key:
        return Key(
            self.name,
            bytes.fromhex(self.sha256),
            self.models,
            frozenset(self.scopes),
            KeyLimits(**self.limits.model_dump()),
            self.weight,
            None if self.expires is None else self.expires.timestamp(),
        )


class KeysSection(Section):
    """The whole file."""

    keys: Annotated[tuple[KeySection, ...], BeforeValidator(_listed)]

    @model_validator(mode="after")
    def _keys_differ(self) -> Self:
        refuse_twice("name", [key.name for key in self.keys])
        refuse_twice("sha256", [key.sha256 for key in self.keys])
        return self


def read_sections(path: Path) -> tuple[KeySection, ...]:
    """The file's keys as they stand there. Raises ConfigError with one line for each fault."""
    document = YamlDocument(path)
    if not isinstance(document.data, dict):
        raise ConfigError(f"{path}: this is no file of keys; make one with: stageline keys new NAME --file {path}")
    try:
        return KeysSection.model_validate(document.data).keys
    except ValidationError as error:
        lines = [f"{path}:{document.line_of(one['loc'])}: {explain(one, KeysSection)}" for one in error.errors()]
        raise ConfigError("\n".join(lines), param=show(error.errors()[0]["loc"]) or None) from None


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys in a file. Raises ConfigError."""
    return tuple(section.key() for section in read_sections(path))


def section_of(values: dict[str, Any]) -> KeySection:
    """A key from plain values. Raises ConfigError."""
    try:
        return KeySection.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(one, KeySection) for one in error.errors())) from None
