"""Weights in few bits: how they are made, calibrated, stored and read again."""
