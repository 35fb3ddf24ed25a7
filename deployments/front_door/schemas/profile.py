"""The body of `/admin/profile`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deployments.front_door.schemas.base import Body
from deployments.profiles.ask import MOST_SECONDS


class ProfileBody(Body):
    """Which replica: one of this model and variant, with this id (or its beginning) or process id; where that leaves
    several, the one with the most to do."""

    seconds: Annotated[float, Field(gt=0, le=MOST_SECONDS)] = 5.0
    model: str | None = None
    variant: str | None = None
    replica: str | None = None
