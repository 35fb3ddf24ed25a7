"""What a JSON Schema's validator complains about, as faults of an object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from deployments.k8s.objects import Fault, KubeObject


def faults(one: KubeObject, errors: Iterable[Any], prefix: str = "") -> Iterator[Fault]:
    """One for each error of `jsonschema`; `prefix` is the path of what was validated. Of alternatives that all fail
    (anyOf) the errors of the nearest are told."""
    for error in errors:
        yield Fault(one, show_path(prefix, error.absolute_path), _message(error))


def show_path(prefix: str, path: Iterable[str | int]) -> str:
    """`spec.containers[0]`."""
    text = prefix
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _message(error: Any) -> str:
    if error.validator == "additionalProperties":
        known = set(error.schema.get("properties", {}))
        unknown = sorted(str(key) for key in set(error.instance) - known)
        return f"there is no field {', '.join(unknown)} here"
    if error.validator == "required":
        missing = sorted(set(error.validator_value) - set(error.instance))
        return f"{', '.join(missing)} is missing"
    message = str(error.message)
    return message if len(message) < 300 else f"{message[:200]} ... (of {error.validator})"
