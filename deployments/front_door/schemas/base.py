"""What all request bodies share: strict types, no unknown fields, and lists of what is ignored or refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from deployments.variants import Policy


class Strict(BaseModel):
    """No conversions ("5" is not 5), no infinities, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class Body(Strict):
    """A request body.

    `ignored` fields are accepted whatever they hold, for they change nothing that a caller could miss. `unsupported`
    fields are refused by name unless they hold one of the listed values, which ask for nothing. `texts` are the fields
    that a form sends as they are; its others are written as in JSON.
    """

    ignored: ClassVar[frozenset[str]] = frozenset()
    texts: ClassVar[frozenset[str]] = frozenset()
    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {}


class RoutedBody(Body):
    """A request that a variant answers: one that keeps `min_quality` of the model's quality (0 to 1), chosen by
    `variant_policy`. None means that any may answer, and "best"."""

    min_quality: Annotated[float, Field(ge=0, le=1)] | None = None
    variant_policy: Policy | None = None
