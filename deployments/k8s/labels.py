"""Label selectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.k8s.objects import mapping, mappings, sequence


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector (matchLabels, matchExpressions) chooses a pod with these labels. An empty one chooses all."""
    if any(labels.get(key) != value for key, value in mapping(selector, "matchLabels").items()):
        return False
    for _, item in mappings(selector, "matchExpressions"):
        have, values = labels.get(str(item.get("key"))), sequence(item, "values")
        match item.get("operator"):
            case "In" if have not in values:
                return False
            case "NotIn" if have in values:
                return False
            case "Exists" if have is None:
                return False
            case "DoesNotExist" if have is not None:
                return False
    return True
