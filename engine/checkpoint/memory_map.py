"""Reading parts of a large file without keeping them in memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.errors import CheckpointError
from engine.plain_files import require_plain, unreadable

CHUNK_BYTES = 8 << 20

Bytes = npt.NDArray[np.uint8]


class MemoryMap:
    """A read-only memory map of one file. Raises `CheckpointError` if it cannot be opened or is empty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        require_plain(path)
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise CheckpointError(f"{path} is empty. Fetch it again.") from None
        except OSError as error:
            raise unreadable(path, error) from None
        self.size = len(self._map)

    @property
    def buffer(self) -> mmap.mmap:
        return self._map

    def chunks(self, start: int, stop: int, step: int = CHUNK_BYTES) -> Iterator[tuple[int, Bytes]]:
        """The bytes from `start` to `stop` as (offset from `start`, view of at most `step` bytes).

        A view is for use before the next one is asked for: its pages are dropped then.
        """
        for at in range(start, stop, step):
            size = min(step, stop - at)
            yield at - start, np.frombuffer(self._map, np.uint8, size, at)
            self.release(at, at + size)

    def release(self, start: int, stop: int) -> None:
        """Drop the mapped pages of a range; they are read from the file again if touched again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            page = mmap.PAGESIZE
            first = start // page * page
            self._map.madvise(mmap.MADV_DONTNEED, first, min(-(-stop // page) * page, self.size) - first)

    def close(self) -> None:
        self._map.close()


def copy_plain(file: MemoryMap, start: int, source: torch.dtype, out: torch.Tensor) -> None:
    """Fill the contiguous tensor `out` from values of type `source` that lie at `start`, converting them."""
    if out.numel() == 0:
        return
    flat = out.view(-1)
    stop = start + flat.numel() * source.itemsize
    if source == out.dtype:
        target = as_bytes(flat)
        for at, part in file.chunks(start, stop):
            target[at : at + part.size] = part
        return
    # A staging buffer, for torch takes no read-only memory and the file need not be aligned.
    staging = torch.empty(min(flat.numel(), CHUNK_BYTES // source.itemsize), dtype=source)
    staging_bytes = as_bytes(staging)
    for at, part in file.chunks(start, stop):
        staging_bytes[: part.size] = part
        first, count = at // source.itemsize, part.size // source.itemsize
        flat[first : first + count] = staging[:count]


def as_bytes(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """A flat contiguous tensor's memory as a NumPy array of bytes."""
    return tensor.view(torch.uint8).numpy()
