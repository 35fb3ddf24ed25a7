from __future__ import annotations

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from cluster.training.batches import in_order, plan_epoch, share

lengths_of = st.lists(st.integers(1, 60), min_size=1, max_size=200)


@given(lengths_of, st.sampled_from(["tokens", "examples"]), st.integers(0, 5))
def test_an_epoch_has_every_example_once(lengths: list[int], unit: Literal["tokens", "examples"], epoch: int) -> None:
    plan = plan_epoch(lengths, batch=128, micro_batch=32, unit=unit, seed=3, epoch=epoch)
    assert sorted(index for batch in plan for micro in batch for index in micro) == list(range(len(lengths)))


@given(lengths_of)
def test_micro_batches_count_their_padding(lengths: list[int]) -> None:
    for batch in plan_epoch(lengths, batch=128, micro_batch=32, unit="tokens", seed=3, epoch=0):
        assert len(batch) <= 4
        for micro in batch:
            assert len(micro) == 1 or len(micro) * max(lengths[index] for index in micro) <= 32


@given(lengths_of, st.integers(1, 7))
def test_workers_share_a_batch_without_gaps(lengths: list[int], workers: int) -> None:
    [batch, *_] = plan_epoch(lengths, batch=160, micro_batch=32, unit="tokens", seed=3, epoch=0)
    shares = [share(batch, rank, workers) for rank in range(workers)]
    assert sorted(part for shared in shares for part in shared) == list(enumerate(batch))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_plan_depends_on_seed_and_epoch_alone() -> None:
    lengths = [1 + number % 17 for number in range(300)]

    def plan(seed: int, epoch: int) -> object:
        return plan_epoch(lengths, batch=64, micro_batch=32, unit="tokens", seed=seed, epoch=epoch)

    assert plan(1, 2) == plan(1, 2)
    assert plan(1, 2) != plan(1, 3)
    assert plan(1, 2) != plan(2, 2)
    assert len(plan_epoch(lengths, batch=64, micro_batch=32, unit="tokens", seed=1, epoch=0)) == len(
        plan_epoch(lengths, batch=64, micro_batch=32, unit="tokens", seed=1, epoch=9)
    )


def test_little_of_a_batch_is_padding() -> None:
    lengths = [5 + (number * 7919) % 30 for number in range(2000)]
    plan = plan_epoch(lengths, batch=512, micro_batch=256, unit="tokens", seed=1, epoch=0)
    padded = sum(len(micro) * max(lengths[index] for index in micro) for batch in plan for micro in batch)
    assert padded < 1.05 * sum(lengths)


def test_evaluation_goes_by_length() -> None:
    assert in_order([3, 1, 2, 2], 4, "tokens") == ((1, 2), (3,), (0,))
