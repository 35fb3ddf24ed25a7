"""A variant measured against fp32: its quality, size and speed, in one run on the same data."""
