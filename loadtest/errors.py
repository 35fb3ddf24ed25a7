"""What goes wrong on purpose. Messages are for the person who can act on them."""

from __future__ import annotations


class LoadTestError(Exception):
    """A scenario, a file or a server is not as it must be: what is wrong, then what to do."""
