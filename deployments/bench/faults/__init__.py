"""Streams under way while stages, replicas, nodes and links are lost: what their callers see of it."""
