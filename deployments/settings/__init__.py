"""The configuration file: what is served, from where, and with how much of the machine.

Only keys that do something are known; anything else is refused with the line, the key's path and the nearest known
name. Everything is frozen: what is left open ("cores") is resolved into a new object, never written back.
"""

from deployments.settings.access import Access, is_loopback
from deployments.settings.file import DEMO_CONFIG, EVERYWHERE, Http, Settings, load_settings, read_settings
from deployments.settings.logs import Logs
from deployments.settings.model import Gate, Model, Promise, Task
from deployments.settings.stages import Stages
from deployments.settings.tracing import Tracing
from deployments.settings.variant import Replicas, Variant

__all__ = [
    "DEMO_CONFIG",
    "EVERYWHERE",
    "Access",
    "Gate",
    "Http",
    "Logs",
    "Model",
    "Promise",
    "Replicas",
    "Settings",
    "Stages",
    "Task",
    "Tracing",
    "Variant",
    "is_loopback",
    "load_settings",
    "read_settings",
]
