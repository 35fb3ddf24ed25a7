"""Stages in actors, the links between them, and their repair."""
