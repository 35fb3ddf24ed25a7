"""Kubernetes without a cluster: manifests are rendered, held against schemas and rules, and filled from a
configuration.

`check.py` has the table of all rules. A rule is a pure function from objects to what is wrong with them; what has to be
looked up in this project (`facts.py`) or made by other programs (`targets.py`) is got before.
"""
