"""Who owns which block of the KV cache. No tensors here: blocks are numbers.

A full block is known by the hash of its tokens and of all before them, so that a later request with the same beginning
takes it over (prefix cache). A block that nobody uses keeps its content, and its hash, until it is needed for something
else; the least recently used goes first.
"""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict, deque
from collections.abc import Sequence


def block_hash(parent: bytes, tokens: Sequence[int]) -> bytes:
    """Names a full block by its content and its past. Cryptographic: a caller must not be able to make another's."""
    return hashlib.blake2b(parent + struct.pack(f"<{len(tokens)}q", *tokens), digest_size=16).digest()


class BlockManager:
    """Hands out `total` blocks of `block_size` tokens, counts references, remembers full blocks by hash."""

    def __init__(self, total: int, block_size: int, prefix_cache: bool = True) -> None:
        self.total = total
        self.block_size = block_size
        self.prefix_cache = prefix_cache
        self._free: deque[int] = deque(range(total))
        self._references = [0] * total
        self._hash_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()  # unused but remembered, least recently used first

    @property
    def available(self) -> int:
        """Blocks that can be taken now, remembered ones included."""
        return len(self._free) + len(self._idle)

    @property
    def used(self) -> int:
        return self.total - self.available

    def match(self, tokens: Sequence[int]) -> list[int]:
        """Takes the remembered blocks that hold the beginning of `tokens`, but never all of it: something must be left
        to compute. Each is a reference to give back with `release`."""
        taken: list[int] = []
        if not self.prefix_cache:
            return taken
        parent = b""
        for end in range(self.block_size, len(tokens), self.block_size):
            parent = block_hash(parent, tokens[end - self.block_size : end])
            block = self._block_of.get(parent)
            if block is None:
                break
            self._reference(block)
            taken.append(block)
        return taken

    def take(self, count: int) -> list[int] | None:
        """`count` blocks of unknown content, or None (and nothing taken) when there are too few."""
        if count > self.available:
            return None
        taken = []
        for _ in range(count):
            if self._free:
                block = self._free.popleft()
            else:
                block, _ = self._idle.popitem(last=False)
                self._forget(block)
            self._references[block] = 1
            taken.append(block)
        return taken

    def remember(self, block: int, parent: bytes, tokens: Sequence[int]) -> bytes:
        """Makes a full block findable; returns its hash, the parent of the next one's."""
        name = block_hash(parent, tokens)
        if self.prefix_cache and name not in self._block_of and block not in self._hash_of:
            self._block_of[name] = block
            self._hash_of[block] = name
        return name

    def release(self, blocks: Sequence[int]) -> None:
        """Gives references back, the last block first: the beginning of a text is worth keeping longest."""
        for block in reversed(blocks):
            self._references[block] -= 1
            if self._references[block] == 0:
                if block in self._hash_of:
                    self._idle[block] = None
                else:
                    self._free.append(block)

    def forget(self) -> None:
        """Empties the prefix cache of what nobody uses."""
        while self._idle:
            block, _ = self._idle.popitem()
            self._forget(block)
            self._free.append(block)

    def check(self) -> None:
        """Asserts that every block is in exactly one state."""
        free, idle = set(self._free), set(self._idle)
        used = {block for block, count in enumerate(self._references) if count > 0}
        assert all(count >= 0 for count in self._references)
        assert len(free) == len(self._free)
        assert not free & idle
        assert not free & used
        assert not idle & used
        assert free | idle | used == set(range(self.total))
        assert {name: block for block, name in self._hash_of.items()} == self._block_of
        assert idle <= self._hash_of.keys()
        assert not free & self._hash_of.keys()

    def _reference(self, block: int) -> None:
        self._idle.pop(block, None)
        self._references[block] += 1

    def _forget(self, block: int) -> None:
        del self._block_of[self._hash_of.pop(block)]
