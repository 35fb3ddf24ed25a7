"""A model's variants: at which precision, from which folder, how many replicas."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from deployments.settings.section import Section
from deployments.settings.stages import Stages
from engine.config import Precision


class Replicas(Section):
    """How many copies of a variant run: never fewer than `min`, never more than `max`. With `min` 0 the last one ends
    after `idle_s` seconds without work."""

    min: int = Field(1, ge=0)
    max: int = Field(1, ge=1)
    idle_s: float = Field(300.0, ge=1, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _max_follows_min(cls, data: Any) -> Any:
        if isinstance(data, dict) and "max" not in data and isinstance(data.get("min"), int):
            return {**data, "max": max(1, data["min"])}
        return data

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) is less than min ({self.min})")
        if "idle_s" in self.model_fields_set and self.min:
            raise ValueError("idle_s means nothing where min is not 0; leave it out")
        return self


class Variant(Section):
    """One model at one precision. `cores` of each replica, or of each of its `stages` where there are several: its CPU
    cores and threads; left out, they share what is left.

    `prepared` is a folder that `stageline quantize` wrote: a recipe with what was measured of it, and perhaps weights.
    """

    precision: Precision
    prepared: str | None = Field(None, min_length=1)
    replicas: Replicas = Replicas()
    stages: Stages = Stages()
    cores: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _prepared_fits(self) -> Self:
        if self.precision == "fp32" and self.prepared is not None:
            raise ValueError("fp32 is what others are measured against: it is served as it is, without 'prepared'")
        if self.precision == "int8-static" and self.prepared is None:
            raise ValueError("int8-static needs scales from calibration: name the folder that holds them, 'prepared'")
        return self

    @property
    def name(self) -> str:
        return self.precision

    @property
    def least_processes(self) -> int:
        """That compute, of the replicas that always run."""
        return self.replicas.min * self.stages.count

    @property
    def most_processes(self) -> int:
        """The same of all replicas."""
        return self.replicas.max * self.stages.count
