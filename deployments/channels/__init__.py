"""Calls from the front door to replicas, over connections of our own: a hop through Serve costs more than a short text
(ADR 13)."""
