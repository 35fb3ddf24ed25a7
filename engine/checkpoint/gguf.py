"""A GGUF file: one file with weights (mostly quantized), configuration, tokenizer and chat template."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from engine.checkpoint.base import Checkpoint
from engine.checkpoint.gguf_config import Metadata, translate
from engine.checkpoint.gguf_header import GGUFHeader, TensorInfo, read_header
from engine.checkpoint.gguf_names import Source, huggingface_name, is_redundant
from engine.checkpoint.memory_map import Bytes, MemoryMap, copy_plain
from engine.errors import CheckpointError
from engine.text.gguf_tokenizer import build_tokenizer, stop_ids
from engine.text.tokenizer import Tokenizer

_CHUNK_VALUES = 1 << 20  # read at a time: 4 MiB as fp32
# The gguf package computes 16 rows at a time, whatever their length. So many values together are neither all overhead
# nor too much for the processor's cache.
_GROUP_ROWS, _GROUP_VALUES = 16, 1 << 16

_PLAIN = {
    GGMLQuantizationType.F64: torch.float64,
    GGMLQuantizationType.F32: torch.float32,
    GGMLQuantizationType.F16: torch.float16,
    GGMLQuantizationType.BF16: torch.bfloat16,
    GGMLQuantizationType.I64: torch.int64,
    GGMLQuantizationType.I32: torch.int32,
    GGMLQuantizationType.I16: torch.int16,
    GGMLQuantizationType.I8: torch.int8,
}


class GGUFCheckpoint(Checkpoint):
    """Opens the file and checks its head. Raises `CheckpointError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = MemoryMap(path)
        try:
            header = read_header(self._file)
            self._metadata = Metadata(header.metadata, path)
            self._tensors = header.tensors
            self._sources = _sources(header, self._metadata.architecture, path)
            self._check_types()
            self.config = self._translate()
            self._check_layouts()
        except CheckpointError:
            self._file.close()
            raise
        eos = stop_ids(header.metadata)
        self.generation_config = {"eos_token_id": eos} if eos else {}

    def names(self) -> frozenset[str]:
        return frozenset(self._sources)

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self._sources:
            raise self._missing(name)
        source = self._sources[name]
        shape = self._tensors[source.name].shape
        return shape[::-1] if source.layout == "transposed" else shape

    def _read(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        source = self._sources[name]
        info = self._tensors[source.name]
        out = torch.empty(self.shape(name), dtype=dtype)
        if source.layout == "same" and info.kind in _PLAIN:
            copy_plain(self._file, info.start, _PLAIN[info.kind], out)
            return out
        order = self._row_order(source, info)
        for first, rows in self._rows(info):
            last = first + len(rows)
            if source.layout == "transposed":
                out[:, first:last] = rows.T
            elif order is not None:
                out.view(info.shape[0], -1)[order[first:last]] = rows.to(dtype)
            else:
                out.view(-1, info.shape[-1])[first:last] = rows
        return out

    def _rows(self, info: TensorInfo) -> Iterator[tuple[int, torch.Tensor]]:
        """The tensor's rows as (index of the first, some rows), dequantized. Biases come as rows of one value."""
        plain = _PLAIN.get(info.kind)
        width = 1 if plain and len(info.shape) == 1 else info.shape[-1]
        row_bytes = plain.itemsize * width if plain else info.row_bytes
        step = max(1, _CHUNK_VALUES // width) * row_bytes
        for at, part in self._file.chunks(info.start, info.stop, step):
            if plain:
                rows = torch.from_numpy(part.copy()).view(plain).view(-1, width)
            else:
                rows = torch.from_numpy(_dequantized(part, info.kind)).view(-1, width)
            yield at // row_bytes, rows

    def _row_order(self, source: Source, info: TensorInfo) -> torch.Tensor | None:
        """For each row in the file, its place in the Hugging Face tensor; None if they are the same.

        Hugging Face rotates the two halves of a head against each other, the Llama architecture of GGUF neighbouring
        rows: row 2j + s of a head there is row s * head_dim/2 + j here.
        """
        if source.layout not in ("query", "key"):
            return None
        return torch.arange(info.shape[0]).view(self._heads(source), 2, -1).transpose(1, 2).reshape(-1)

    def _translate(self) -> dict[str, Any]:
        if "token_embd.weight" not in self._tensors:
            raise CheckpointError(f"{self.path} has no token_embd.weight: it holds no whole model.")
        vocab_size = self._tensors["token_embd.weight"].shape[0]
        return translate(self._metadata, frozenset(self._tensors), vocab_size)

    def _check_types(self) -> None:
        for kind in {info.kind for info in self._tensors.values()} - set(_PLAIN):
            try:
                gguf.dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
            except NotImplementedError:
                raise CheckpointError(
                    f"{self.path} has {kind.name} tensors, which the gguf package cannot dequantize. "
                    "Use a file quantized another way."
                ) from None

    def _check_layouts(self) -> None:
        """The reordering of rows relies on dimensions and head counts, so wrong ones must not pass."""
        for source in self._sources.values():
            info = self._tensors[source.name]
            if source.layout == "transposed" and len(info.shape) != 2:
                raise CheckpointError(f"{self.path}: {source.name} is no matrix. The file is damaged.")
            if source.layout in ("query", "key"):
                heads, head_dim = self._heads(source), self.config["head_dim"]
                flat_and_packed = len(info.shape) == 1 and info.kind not in _PLAIN
                if info.shape[0] != heads * head_dim or head_dim % 2 or len(info.shape) > 2 or flat_and_packed:
                    raise CheckpointError(
                        f"{self.path}: {source.name} has shape {info.shape} where the metadata asks for {heads} heads "
                        f"of {head_dim} rows. The file is damaged."
                    )

    def _heads(self, source: Source) -> int:
        key = "num_attention_heads" if source.layout == "query" else "num_key_value_heads"
        heads: int = self.config[key]
        return heads

    def tokenizer(self) -> Tokenizer:
        return build_tokenizer(self._metadata.values, self.path)

    def close(self) -> None:
        self._file.close()


def _dequantized(blocks: Bytes, kind: GGMLQuantizationType) -> npt.NDArray[np.float32]:
    """The values of whole blocks, one after another."""
    values, size = GGML_QUANT_SIZES[kind]
    row = max(1, _GROUP_VALUES // _GROUP_ROWS // values) * size
    whole = len(blocks) // row * row
    parts = [
        part.reshape(-1, width)
        for part, width in ((blocks[:whole], row), (blocks[whole:], len(blocks) - whole))
        if len(part)
    ]
    return np.concatenate([gguf.dequantize(part, kind).reshape(-1) for part in parts])


def _sources(header: GGUFHeader, architecture: str, path: Path) -> dict[str, Source]:
    sources: dict[str, Source] = {}
    for name in header.tensors:
        if is_redundant(name):
            continue
        found = huggingface_name(architecture, name)
        if found is None:
            raise CheckpointError(f"{path} has a tensor {name!r}, which architecture {architecture!r} does not know.")
        sources[found[0]] = found[1]
    return sources
