from __future__ import annotations

from deployments.outbox import CROWD, FLUSH_S, Outbox
from engine.engine import Output
from engine.request import Delta, FinishReason


def step(token: int, count: int = CROWD, ended: str | None = None) -> list[Output]:
    """One token for each of `count` requests."""
    return [(f"r{i}", Delta((token,), FinishReason.STOP if f"r{i}" == ended else None)) for i in range(count)]


def test_first_tokens_go_at_once_and_later_ones_together() -> None:
    box = Outbox()
    assert box.add(step(1), 0.0) == step(1)
    assert box.add(step(2), FLUSH_S * 0.4) == []
    assert box.add(step(3), FLUSH_S * 0.8) == []
    assert box.add(step(4), FLUSH_S * 1.2) == [*step(2), *step(3), *step(4)]


def test_a_few_streams_wait_for_nothing() -> None:
    box = Outbox()
    for token in range(4):
        assert box.add(step(token, count=CROWD - 1), 0.001 * token) == step(token, count=CROWD - 1)


def test_an_end_takes_along_what_was_held() -> None:
    box = Outbox()
    box.add(step(1), 0.0)
    box.add(step(2), 0.01)
    last = step(3, ended="r4")
    assert box.add(last, 0.02) == [*step(2), *last]


def test_a_newcomer_waits_for_nothing_and_an_id_can_come_again() -> None:
    box = Outbox()
    box.add(step(1), 0.0)
    wider = step(2, count=CROWD + 1)
    assert box.add(wider, 0.01) == wider
    ended = step(3, count=CROWD + 1, ended="r0")
    assert box.add(ended, 0.011) == ended
    again = step(4, count=CROWD + 1)
    assert box.add(again, 0.012) == again  # r0 is new again


def test_nothing_is_lost_or_reordered() -> None:
    box, told = Outbox(), []
    for token in range(50):
        told += box.add(step(token, ended="r3" if token == 49 else None), 0.013 * token)
    for i in range(CROWD):
        assert [delta.tokens[0] for name, delta in told if name == f"r{i}"] == list(range(50))
