"""How a variant's model is cut into stages, and where they are placed."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from deployments.settings.section import Section, Size, items

Placement = Literal["pack", "spread", "strict-pack", "strict-spread"]
"""Together on one node or each on one of its own; where that is not possible otherwise, or, if strict, not at all."""

DRIVER_CPUS = 0.0001
"""It mostly waits; but a place on a node is found only for something. No more than what stages leave of a core: the
driver belongs beside one of them, and not on a node of its own."""

Layers = Annotated[int, Field(ge=1)]


class Stages(Section):
    """`count` stages, each a process that holds some of the layers. `balance` says how many each; without it they are
    shared by what they cost, so that the weights and caches of each fit `memory`, in bytes, where that is given.
    `num_gpus` of each stage; with it the stages compute on GPUs, and as costs are measured where the replica runs, on
    CPUs, a `balance` is needed. A stage that is lost and cannot be replaced within `repair_limit_s` fails the replica.
    """

    count: int = Field(1, ge=1)
    balance: Annotated[tuple[Layers, ...], BeforeValidator(items)] | None = None
    memory: Size | None = Field(None, gt=0)
    placement: Placement = "pack"
    num_gpus: float = Field(0.0, ge=0, allow_inf_nan=False)
    repair_limit_s: float = Field(10.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _a_number_counts(cls, data: Any) -> Any:
        """`stages: 2`, and a `balance` that says how many there are."""
        if isinstance(data, Stages):
            return data
        if isinstance(data, int) and not isinstance(data, bool):
            return {"count": data}
        if not isinstance(data, dict):
            raise ValueError("a number of stages, or a section with 'count' or 'balance', is needed here")
        balance = data.get("balance")
        if "count" not in data and isinstance(balance, list | tuple) and balance:
            return {**data, "count": len(balance)}
        return data

    @model_validator(mode="after")
    def _balance_is_for_all(self) -> Self:
        if self.balance is not None and len(self.balance) != self.count:
            raise ValueError(
                f"balance is for {len(self.balance)} stages and count is {self.count}; one of both is enough"
            )
        return self

    @model_validator(mode="after")
    def _one_stage_is_the_replica_itself(self) -> Self:
        given = sorted(self.model_fields_set - {"count", "balance"})
        if self.count == 1 and given:
            raise ValueError(f"'{given[0]}' means nothing for one stage; give a count of 2 or more, or leave it out")
        return self

    @model_validator(mode="after")
    def _gpus_are_whole_above_one(self) -> Self:
        if self.num_gpus > 1 and not self.num_gpus.is_integer():
            raise ValueError(f"num_gpus {self.num_gpus:g} is not possible: a share of one, or a whole number")
        return self

    @model_validator(mode="after")
    def _a_balance_is_given_where_nothing_is_measured(self) -> Self:
        if self.num_gpus and self.count > 1 and self.balance is None:
            raise ValueError(
                "num_gpus needs a balance: costs are measured on CPUs only. Begin with the same number of layers for "
                "each stage and fewer for the last, which has the head too, say [17, 13] of 30; then move layers from "
                "the stage that `stageline status` shows as the busiest"
            )
        return self

    @model_validator(mode="after")
    def _memory_bounds_a_choice(self) -> Self:
        if self.memory is not None and self.balance is not None:
            raise ValueError("memory means nothing beside a balance, which says already what each stage holds")
        return self

    @property
    def driver_cpus(self) -> float:
        """What the process that feeds several stages reserves for itself."""
        return DRIVER_CPUS if self.count > 1 else 0.0

    @property
    def device(self) -> str:
        """What a stage computes on."""
        return "cuda" if self.num_gpus else "cpu"
