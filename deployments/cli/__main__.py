"""`python -m deployments.cli` is `stageline`."""

from __future__ import annotations

from deployments.cli import main

main()
