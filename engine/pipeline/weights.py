"""How much of a model a stage holds."""

from __future__ import annotations

from engine.models.transform import Transform
from engine.quantization.weight import QuantizedWeight, Weight


class Counted:
    """A transform that hands weights on as another does, and adds up their bytes."""

    def __init__(self, transform: Transform) -> None:
        self.transform = transform
        self.bytes = 0

    def __call__(self, name: str, weight: Weight) -> Weight:
        found = self.transform(name, weight)
        self.bytes += found.nbytes() if isinstance(found, QuantizedWeight) else found.nbytes
        return found
