from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.access.account import Account, Accounts, shown_s
from deployments.access.caller import ANYBODY, Caller, caller_in
from deployments.access.keys import Key, KeyLimits
from deployments.variants import VariantInfo
from engine.errors import RateLimited


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def account(clock: Clock, **limits: int) -> Account:
    return Account(Key("a", b"", ("*",), limits=KeyLimits(**limits)), clock)


def headers(of: Account) -> dict[str, str]:
    return {name.decode().removeprefix("x-ratelimit-"): value.decode() for name, value in of.headers()}


def test_requests_of_a_minute() -> None:
    clock = Clock()
    one = account(clock, requests_per_minute=2)
    assert headers(one) == {"limit-requests": "2", "remaining-requests": "2", "reset-requests": "0ms"}
    one.begin()
    assert headers(one) == {"limit-requests": "2", "remaining-requests": "1", "reset-requests": "30s"}
    one.begin()
    with pytest.raises(RateLimited, match="2 requests a minute") as caught:
        one.begin()
    assert (caught.value.limit, caught.value.retry_after_s) == ("requests", 30)
    assert headers(one) == {"limit-requests": "2", "remaining-requests": "0", "reset-requests": "1m0s"}
    clock.now += 30
    one.begin()
    assert one.open == 3


def test_open_requests() -> None:
    one = account(Clock(), concurrent=1, requests_per_minute=10)
    one.begin()
    with pytest.raises(RateLimited, match="1 requests open") as caught:
        one.begin()
    assert caught.value.limit == "concurrency"
    assert headers(one)["remaining-requests"] == "9"  # what is refused for that is not counted
    one.end()
    one.begin()


def test_tokens_are_reserved_and_settled() -> None:
    clock = Clock()
    one = account(clock, tokens_per_minute=600)
    one.begin()
    caller = Caller(one)
    caller.reserve(500)
    assert headers(one) == {"limit-tokens": "600", "remaining-tokens": "100", "reset-tokens": "50s"}
    with pytest.raises(RateLimited, match=r"100 are left, and this request may take 200. Try again in 10s") as caught:
        Caller(one).reserve(200)
    assert (caught.value.limit, caught.value.retry_after_s) == ("tokens", 10)
    caller.read(20)
    caller.read(20)  # the same prompt's second answer
    caller.read(30, 1)
    for _ in range(50):
        caller.wrote(1)
    caller.close()
    caller.close()
    assert (headers(one)["remaining-tokens"], one.open) == ("500", 0)


def test_whoever_uses_more_than_reserved_owes_it() -> None:
    clock = Clock()
    one = account(clock, tokens_per_minute=60)
    one.begin()
    caller = Caller(one)
    caller.reserve(10)
    caller.wrote(100)
    caller.close()
    assert headers(one)["remaining-tokens"] == "0"
    with pytest.raises(RateLimited) as caught:
        Caller(one).reserve(1)
    assert caught.value.retry_after_s == 41  # 40 owed


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 1000)), max_size=50))
def test_in_the_end_only_what_was_used_counts(requests: list[tuple[int, int]]) -> None:
    clock = Clock()
    one = account(clock, tokens_per_minute=100)
    began, used = clock.now, 0
    for reserved, wrote in requests:
        one.begin()
        caller = Caller(one)
        try:
            caller.reserve(reserved)
        except RateLimited as error:
            clock.now += error.retry_after_s
            caller.reserve(reserved)
        caller.wrote(wrote)
        caller.close()
        used += wrote
    assert one.open == 0
    # A bucket, a debt, and what came in the time.
    assert used <= 100 + 1000 + (clock.now - began) * 100 / 60 + 1


def test_what_was_used_survives_a_changed_file() -> None:
    clock = Clock()
    accounts = Accounts(clock)
    key = Key("a", b"1", limits=KeyLimits(requests_per_minute=2))
    accounts.of(key).begin()
    changed = replace(key, digest=b"2", limits=KeyLimits(requests_per_minute=1))
    assert accounts.of(changed) is accounts.of(key)
    accounts.of(changed).begin()
    with pytest.raises(RateLimited):
        accounts.of(changed).begin()
    assert accounts.of(Key("b", b"3")).headers() == []


def test_what_a_caller_may_use() -> None:
    served = {"tiny": 1, "other": 2}
    variants = (VariantInfo("bf16"), VariantInfo("int8-dynamic"))
    caller = Caller(Account(Key("a", b"", ("tiny:bf16",), weight=3)))
    assert caller.models(served) == {"tiny": 1}
    assert [one.name for one in caller.variants("tiny", variants)] == ["bf16"]
    assert caller.only("tiny", variants) == frozenset({"bf16"})
    assert (caller.name, caller.weight) == ("a", 3)
    caller.close()
    assert caller.models(served) == {"tiny": 1}  # its end gives nobody more
    assert ANYBODY.models(served) is served
    assert (ANYBODY.name, ANYBODY.weight, ANYBODY.only("tiny", variants)) == (None, 1.0, None)
    assert caller_in({}) is ANYBODY


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0ms"), (0.0195, "20ms"), (0.9999, "1s"), (1, "1s"), (8.64, "8.64s"), (59.9999, "1m0s"), (360, "6m0s")],
)
def test_times_as_openai_writes_them(seconds: float, shown: str) -> None:
    assert shown_s(seconds) == shown
