"""Writes a model with quantized products as a folder that loads at once; `engine.checkpoint.prepared` reads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.checkpoint.outline import Outline
from engine.checkpoint.prepared import FILE, FORMAT, part_name
from engine.kernels import TorchKernels
from engine.kernels.base import Activation, Embedding, Gate, Linear
from engine.models import FAMILIES, encoder_family_of, family_of, load_classifier, load_decoder, load_encoder
from engine.models.named import Named
from engine.models.seq2seq import SEQ2SEQ_FAMILIES, load_seq2seq, seq2seq_family_of
from engine.models.transform import Transform
from engine.quantization.weight import QuantizedWeight, Scheme, Weight
from engine.text.tokenizer_files import save_tokenizer

DTYPE = torch.bfloat16  # of what a quantized model is computed in; tables may be alike in it
LENGTH = 64  # tokens of the tables of positions that are made while loading and then thrown away
KEPT = frozenset((".json", ".jinja", ".model", ".spm", ".txt", ".md"))  # of a folder; also whatever has no ending


def prepare(checkpoint: Checkpoint, precision: Scheme, transform: Transform, folder: Path, base: str = "") -> None:
    """Writes the checkpoint with its products as `transform` makes them of fp32 weights, which it is called with once
    each. `folder` is new or empty; `base`, a digest of the checkpoint, is kept with it. Raises CheckpointError,
    EngineFailed where memory is short, and OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    products: dict[str, Weight] = {}

    def made(name: str, weight: Weight) -> Weight:
        assert isinstance(weight, Tensor)
        products[name] = transform(name, weight)
        return products[name]

    reading = _Reading(checkpoint, product_tensors(checkpoint))
    load_products(reading, DTYPE, made)
    tensors = {name: checkpoint.tensor(name, dtype) for name, dtype in reading.others.items()}
    shared: set[int] = set()
    for name, weight in products.items():
        parts = weight.parts() if isinstance(weight, QuantizedWeight) else {"weight": weight.to(torch.bfloat16)}
        for part, tensor in parts.items():
            # Two products may share a tensor, files must not.
            tensor = tensor.contiguous()
            tensors[part_name(name, part)] = tensor.clone() if tensor.untyped_storage().data_ptr() in shared else tensor
            shared.add(tensor.untyped_storage().data_ptr())
    _save_files(checkpoint, precision, folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # the library makes it readable by nobody else
    replaced = sorted(reading.products - reading.others.keys())
    about = {
        "format": FORMAT,
        "precision": precision,
        "base": base,
        "products": {name: w.scheme if isinstance(w, QuantizedWeight) else None for name, w in products.items()},
        "replaced": {name: list(checkpoint.shape(name)) for name in replaced},
    }
    (folder / FILE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


class _Discarding(TorchKernels):
    """Holds no product's weight: for models that are built to see their weights go by."""

    _NOTHING = torch.zeros(2, 1)

    def linear(self, weight: Weight, bias: Tensor | None = None) -> Linear:
        return super().linear(self._NOTHING)

    def gate(self, weight: Weight, activation: Activation) -> Gate:
        return super().gate(self._NOTHING, activation)

    def embedding(self, weight: Weight, scale: float = 1.0) -> Embedding:
        return super().embedding(self._NOTHING, scale)

    def tied_embedding(
        self, weight: Weight, scale: float = 1.0, bias: Tensor | None = None
    ) -> tuple[Embedding, Linear]:
        return super().tied_embedding(self._NOTHING, scale)


def load_products(checkpoint: Checkpoint, dtype: torch.dtype, transform: Transform) -> None:
    """Loads a model of any family, so that `transform` sees all its products, and keeps none of them. Raises as
    `load_decoder`."""
    kernels = _Discarding(dtype, torch.device("cpu"))
    config = checkpoint.config
    kind = config.get("model_type")
    if kind in FAMILIES:
        load_decoder(checkpoint, kernels, LENGTH, transform=transform)
    elif kind in SEQ2SEQ_FAMILIES:
        load_seq2seq(checkpoint, kernels, LENGTH, LENGTH, transform)
    else:
        family = encoder_family_of(config)
        load_encoder(checkpoint, kernels, LENGTH, transform=transform)
        scores = Named(checkpoint, torch.float32, family.prefix).find(f"{family.scores}.weight")
        if scores is not None:
            load_classifier(checkpoint, kernels, checkpoint.shape(scores)[0], transform)


def product_tensors(checkpoint: Checkpoint) -> frozenset[str]:
    """Names of the tensors that products' weights are made of, none of which needs to be read for that."""
    config = checkpoint.config
    recorded = Outline(checkpoint)
    kind = config.get("model_type")
    if kind in FAMILIES:
        arch = family_of(config).architecture(config)
        decoder = family_of(config).weights(recorded, arch, torch.float32)
        recorded.start()
        for index in range(arch.num_layers):
            decoder.layer(index)
        if arch.tied_head:
            decoder.embedding()
        else:
            decoder.head()
    elif kind in SEQ2SEQ_FAMILIES:
        both = seq2seq_family_of(config).architecture(config)
        halves = seq2seq_family_of(config).weights(recorded, both, DTYPE)
        recorded.start()
        for index in range(both.encoder.num_layers):
            halves.encoder.layer(index)
        for index in range(both.decoder.num_layers):
            halves.decoder.layer(index)
        if halves.decoder.tied:
            halves.decoder.embedding()
        else:
            halves.decoder.head()
    else:
        family = encoder_family_of(config)
        shape = family.architecture(config)
        encoder = family.weights(recorded, shape, torch.float32)
        recorded.start()
        for index in range(shape.num_layers):
            encoder.layer(index)
        named = Named(recorded, torch.float32, family.prefix)
        if named.has(f"{family.scores}.weight"):
            family.head(named, config)
    return frozenset(recorded.names_read)


class _Reading(Outline):
    """Gives the tensors of products in fp32, and remembers in which dtype others are wanted.

    A product's tensor that is read a second time is wanted for something else too: an embedding for the encoder.
    """

    def __init__(self, checkpoint: Checkpoint, products: frozenset[str]) -> None:
        super().__init__(checkpoint)
        self.products = products
        self.others: dict[str, torch.dtype] = {}

    def _read(self, name: str, dtype: torch.dtype) -> Tensor:
        if name in self.products and name not in self.names_read:
            self.names_read.add(name)
            return self.inner.tensor(name, torch.float32)
        self.others[name] = dtype
        return self.inner.tensor(name, dtype)


def _save_files(checkpoint: Checkpoint, precision: Scheme, folder: Path) -> None:
    """Configuration and tokenizer; for a GGUF file they are written as a Hugging Face folder has them."""
    config = {**checkpoint.config, "quantization_config": {"quant_method": "stageline", "precision": precision}}
    if checkpoint.path.is_dir():
        for path in sorted(checkpoint.path.rglob("*")):
            name = path.relative_to(checkpoint.path)
            hidden = any(part.startswith(".") for part in name.parts)
            index = path.name.endswith(".safetensors.index.json")
            if path.is_file() and not hidden and not index and (not path.suffix or path.suffix in KEPT):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    else:
        save_tokenizer(checkpoint.tokenizer(), folder)
        text = json.dumps(checkpoint.generation_config, indent=1) + "\n"
        (folder / "generation_config.json").write_text(text, encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
