"""Profiles of running replicas: taken there, joined here into one trace."""
