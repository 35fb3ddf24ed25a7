"""The load harness: Locust users, open and closed loops, every request a record, reports. Speaks HTTP only.

It imports nothing of the server, so that it can be held against any other one that speaks the same APIs.
"""
