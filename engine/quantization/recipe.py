"""All that decides a quantized variant's bits, given the base weights; small enough to be kept with the code.

As a folder: recipe.json, and calibration.safetensors where there are tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.checkpoint.safetensors import SafetensorsFile
from engine.errors import CheckpointError, ConfigError
from engine.quantization.groups import ROUNDINGS, Rounding
from engine.quantization.observers import OBSERVERS, Observer
from engine.quantization.rounding import round_weight
from engine.quantization.weight import SCHEMES, Scheme, Weight
from engine.text.json_files import read_json_object

FILE = "recipe.json"
TENSORS = "calibration.safetensors"
FORMAT = 1
REVISION = 1  # of the arithmetic: another one where the same recipe gives other bits
KINDS = {"multipliers": torch.float32, "inputs": torch.float16}
GROUPS = (8, 16, 32, 64, 128, 256)

Kept = Literal["bf16", "int8-dynamic", "int8-weight"]
KEPT: tuple[Kept, ...] = get_args(Kept)
HIGHER: dict[Scheme, Kept] = {
    "int8-dynamic": "bf16",
    "int8-static": "int8-dynamic",
    "int8-weight": "bf16",
    "int4-weight": "int8-weight",
    "fp8": "bf16",
}
"""What a product that a scheme costs too much is best kept at."""


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """Raises ConfigError for what no weight can be quantized with. Names are those of `engine.models.transform`.

    `kept` says which products have a higher precision than the rest. `multipliers` (K,) fp32 and `inputs` (1 + D, K)
    fp16 are tensors by name, see `round_weight`. `smoothing` (strength) and `observers` tell how the multipliers came
    about.
    """

    precision: Scheme
    group: int = 32
    rounding: Rounding = "fitted"
    kept: Mapping[str, Kept] = field(default_factory=dict)
    multipliers: Mapping[str, Tensor] = field(default_factory=dict)
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    smoothing: Mapping[str, float] = field(default_factory=dict)
    observers: Mapping[str, Observer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _one_of("precision", self.precision, SCHEMES)
        _one_of("rounding", self.rounding, ROUNDINGS)
        _one_of("group", self.group, GROUPS)
        for name, kept in self.kept.items():
            _one_of(f"kept.{name}", kept, KEPT)
        for name, observer in self.observers.items():
            _one_of(f"observers.{name}", observer, OBSERVERS)
        for name, tensor in self.multipliers.items():
            smallest = torch.finfo(torch.float32).tiny
            sound = tensor.dim() == 1 and tensor.dtype == torch.float32
            if not sound or not bool((tensor.isfinite() & (tensor >= smallest)).all()):
                raise ConfigError(f"multipliers.{name} are no positive finite fp32 numbers: calibrate again")
        for name, tensor in self.inputs.items():
            sound = tensor.dim() == 2 and len(tensor) > 0 and tensor.dtype == torch.float16
            if not sound or not bool(tensor.isfinite().all()) or bool((tensor[0] < 0).any()) or not tensor[0].any():
                raise ConfigError(f"inputs.{name} do not describe a product's inputs: calibrate again")

    def scheme(self, name: str) -> Scheme | None:
        """Of one product; None where it stays as it is."""
        kept = self.kept.get(name)
        return self.precision if kept is None else None if kept == "bf16" else kept

    def digest(self) -> str:
        """SHA-256 over all that decides bits."""
        settings = {"revision": REVISION, **_settings(self)}
        whole = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        whole.update(_tensors_digest(self).encode())
        return whole.hexdigest()


def quantize(name: str, weight: Tensor, recipe: Recipe) -> Weight:
    """The weight (N, K) of the product of that name as the recipe has it: a pure function.

    A weight that is kept, or whose width no group fits, is returned as it is. Raises ConfigError where the recipe was
    made for another model, CheckpointError for weights that are not finite.
    """
    scheme = recipe.scheme(name)
    if scheme is None:
        return weight
    if not bool(weight.isfinite().all()):
        raise CheckpointError(f"{name}: the weight has values that are not finite; it cannot be quantized")
    grouped = scheme in ("int8-weight", "int4-weight")
    multiplier = None if grouped else recipe.multipliers.get(name)
    inputs = recipe.inputs.get(name) if grouped else None
    if multiplier is None and scheme == "int8-static":
        raise ConfigError(f"the recipe has no activation scale for {name}: calibrate this model")
    for tensor in (multiplier, inputs):
        if tensor is not None and tensor.shape[-1] != weight.shape[1]:
            raise ConfigError(
                f"the recipe has {tensor.shape[-1]} inputs for {name}, the weight has {weight.shape[1]}: "
                "it was made for another model"
            )
    found = round_weight(
        weight, scheme, group=recipe.group, rounding=recipe.rounding, multiplier=multiplier, inputs=inputs
    )
    return weight if found is None else found


def save_recipe(recipe: Recipe, folder: Path) -> None:
    """Writes the recipe into `folder`, made if it is not there; other files in it stay. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _tensors(recipe)
    path = folder / TENSORS
    path.unlink(missing_ok=True)
    if tensors:
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
        path.chmod(0o644)  # the library makes it readable by nobody else
    settings = {"format": FORMAT, "revision": REVISION, **_settings(recipe), "calibration": _tensors_digest(recipe)}
    (folder / FILE).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def load_recipe(folder: Path) -> Recipe:
    """Raises CheckpointError where the folder has no recipe, or one that is damaged or of another version."""
    path = folder / FILE
    about = read_json_object(path)
    for key, known in (("format", FORMAT), ("revision", REVISION)):
        if about.pop(key, None) != known:
            raise CheckpointError(
                f"{path}: its {key} is not the one of this version ({known}); quantize the model again"
            )
    calibration = about.pop("calibration", None)
    parts: dict[str, dict[str, Tensor]] = {kind: {} for kind in KINDS}
    if (folder / TENSORS).exists():
        file = SafetensorsFile(folder / TENSORS)
        try:
            for full in sorted(file.names()):
                kind, _, name = full.partition(".")
                if kind not in parts:
                    raise CheckpointError(f"{folder / TENSORS}: {full} is no part of a recipe")
                parts[kind][name] = file.read(full, KINDS[kind])
        finally:
            file.close()
    _check_settings(path, about)
    try:
        recipe = Recipe(**{**about, **parts})
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error.message}") from None
    if _tensors_digest(recipe) != calibration:
        raise CheckpointError(f"{folder / TENSORS} is not the file that {FILE} was written with; quantize again")
    return recipe


def _settings(recipe: Recipe) -> dict[str, Any]:
    named = {key: dict(sorted(getattr(recipe, key).items())) for key in ("kept", "smoothing", "observers")}
    return {"precision": recipe.precision, "group": recipe.group, "rounding": recipe.rounding, **named}


def _check_settings(path: Path, about: dict[str, Any]) -> None:
    kinds: dict[str, type] = {
        "precision": str,
        "group": int,
        "rounding": str,
        "kept": dict,
        "smoothing": dict,
        "observers": dict,
    }
    for key, value in about.items():
        if key not in kinds:
            raise CheckpointError(f"{path}: unknown key {key!r}; known are {', '.join(kinds)}")
        if type(value) is not kinds[key]:
            raise CheckpointError(f"{path}: {key} is {value!r}; quantize the model again")
    if "precision" not in about:
        raise CheckpointError(f"{path} says no precision; quantize the model again")
    for name, strength in about.get("smoothing", {}).items():
        if type(strength) not in (int, float):
            raise CheckpointError(f"{path}: smoothing.{name} is {strength!r}; quantize the model again")


def _tensors(recipe: Recipe) -> dict[str, Tensor]:
    return {f"{kind}.{name}": tensor for kind in KINDS for name, tensor in getattr(recipe, kind).items()}


def _tensors_digest(recipe: Recipe) -> str:
    whole = hashlib.sha256()
    for name, tensor in sorted(_tensors(recipe).items()):
        whole.update(f"{name} {list(tensor.shape)}\n".encode())
        whole.update(tensor.contiguous().numpy().tobytes())
    return whole.hexdigest()


T = TypeVar("T")


def _one_of(what: str, value: T, known: tuple[T, ...]) -> None:
    if value not in known or type(value) is not type(known[0]):
        names = ", ".join(str(one) for one in known)
        raise ConfigError(f"{what}: {value!r} is not known; known are {names}", param=what)
