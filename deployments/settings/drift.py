"""How closely quantized variants are watched."""

from __future__ import annotations

from pydantic import Field

from deployments.settings.section import Section


class Drift(Section):
    """This `share` of the answers of variants is compared in the background with the best variant that always runs,
    while that has nothing to do. 0: none."""

    share: float = Field(0.01, ge=0, le=1, allow_inf_nan=False)
