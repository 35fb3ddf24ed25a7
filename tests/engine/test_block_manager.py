"""The block manager against its own invariants and against a plain dictionary of what was remembered."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.block_manager import BlockManager, block_hash

SIZE = 2


def remember_all(manager: BlockManager, blocks: list[int], tokens: list[int]) -> None:
    parent = b""
    for i, block in enumerate(blocks[: len(tokens) // SIZE]):
        parent = manager.remember(block, parent, tokens[i * SIZE : (i + 1) * SIZE])


def test_a_later_request_takes_over_the_common_beginning() -> None:
    manager = BlockManager(8, SIZE)
    blocks = manager.take(3)
    assert blocks is not None
    remember_all(manager, blocks, [1, 2, 3, 4, 5, 6])
    assert manager.match([1, 2, 3, 4, 9, 9]) == blocks[:2]
    assert manager.match([1, 2, 9, 9]) == blocks[:1]
    assert manager.match([9, 2, 3, 4]) == []
    manager.check()


def test_something_is_always_left_to_compute() -> None:
    manager = BlockManager(8, SIZE)
    blocks = manager.take(2)
    assert blocks is not None
    remember_all(manager, blocks, [1, 2, 3, 4])
    assert manager.match([1, 2, 3, 4]) == blocks[:1]
    assert manager.match([1, 2, 3, 4, 5]) == blocks


def test_too_few_blocks_take_nothing() -> None:
    manager = BlockManager(3, SIZE)
    assert manager.take(4) is None
    assert manager.available == 3
    manager.check()


def test_remembered_blocks_go_least_recently_used_first() -> None:
    manager = BlockManager(2, SIZE)
    old, new = manager.take(1), manager.take(1)
    assert old is not None
    assert new is not None
    remember_all(manager, old, [1, 2])
    remember_all(manager, new, [3, 4])
    manager.release(old)
    manager.release(new)
    assert manager.take(1) == old
    assert manager.match([3, 4, 5]) == new
    assert manager.match([1, 2, 5]) == []


def test_without_a_prefix_cache_nothing_is_found() -> None:
    manager = BlockManager(4, SIZE, prefix_cache=False)
    blocks = manager.take(1)
    assert blocks is not None
    remember_all(manager, blocks, [1, 2])
    assert manager.match([1, 2, 3]) == []
    manager.check()


def test_a_hash_depends_on_the_past() -> None:
    assert block_hash(b"", [1, 2]) != block_hash(block_hash(b"", [0, 0]), [1, 2])
    assert block_hash(b"", [1, 2]) == block_hash(b"", (1, 2))


@pytest.mark.parametrize("tokens", [[-1, 2], [2**40, 1]])
def test_any_token_value_can_be_hashed(tokens: list[int]) -> None:
    assert len(block_hash(b"", tokens)) == 16


class Traffic(RuleBasedStateMachine):
    """Texts over a small alphabet come and go; what is matched must have been written by exactly that text."""

    def __init__(self) -> None:
        super().__init__()
        self.manager = BlockManager(6, SIZE)
        self.held: list[list[int]] = []
        self.written: dict[int, tuple[int, ...]] = {}  # block -> the text up to its end

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=9))
    def start(self, tokens: list[int]) -> None:
        matched = self.manager.match(tokens)
        for i, block in enumerate(matched):
            assert self.written[block] == tuple(tokens[: (i + 1) * SIZE])
        fresh = self.manager.take(-(-len(tokens) // SIZE) - len(matched))
        if fresh is None:
            self.manager.release(matched)
            return
        blocks = matched + fresh
        for i, block in enumerate(blocks[: len(tokens) // SIZE]):
            self.written[block] = tuple(tokens[: (i + 1) * SIZE])
        remember_all(self.manager, blocks, tokens)
        self.held.append(blocks)

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if self.held:
            self.manager.release(self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))

    @invariant()
    def consistent(self) -> None:
        self.manager.check()
        assert self.manager.used == len({block for blocks in self.held for block in blocks})


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
