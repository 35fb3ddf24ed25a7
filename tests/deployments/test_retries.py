from __future__ import annotations

import pytest

from deployments.retries import DEATHS_IN_A_ROW, FIRST_WAIT_S, LONGEST_WAIT_S, Again, Cause, GiveUp, Trials, after

PATIENCE_S = 30.0


def again(trials: Trials, cause: Cause, now_s: float = 0.0) -> Again:
    step = after(trials, cause, now_s, PATIENCE_S)
    assert isinstance(step, Again), step
    return step


@pytest.mark.parametrize("cause", ["died", "silent"])
def test_another_is_asked_at_once_and_has_its_own_time(cause: Cause) -> None:
    step = again(Trials(until_s=30), cause, now_s=500)
    assert step.wait_s == 0
    assert step.trials.until_s == 500 + PATIENCE_S
    assert step.trials.taken


def test_a_request_that_kills_does_not_kill_them_all() -> None:
    trials = Trials(until_s=30)
    for _ in range(DEATHS_IN_A_ROW - 1):
        trials = again(trials, "died").trials
    assert after(trials, "died", 0, PATIENCE_S) == GiveUp(deadly=True)


def test_deaths_with_a_new_token_between_them_never_add_up() -> None:
    trials = Trials(until_s=30)
    for _ in range(10 * DEATHS_IN_A_ROW):
        trials = again(trials, "died").trials.gained()
    assert trials.deaths == 0


def test_replicas_that_refuse_are_asked_until_the_time_is_over() -> None:
    trials, now_s, waits = Trials(until_s=PATIENCE_S), 0.0, []
    while isinstance(step := after(trials, "refused", now_s, PATIENCE_S), Again):
        trials, now_s = step.trials, now_s + step.wait_s
        waits.append(step.wait_s)
    assert step == GiveUp(deadly=False)
    assert PATIENCE_S - LONGEST_WAIT_S <= now_s <= PATIENCE_S
    assert waits[0] == FIRST_WAIT_S
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT_S
    assert trials.deaths == 0


def test_who_comes_to_full_replicas_is_turned_away() -> None:
    assert after(Trials(until_s=30), "full", 0, PATIENCE_S) == GiveUp(deadly=False)


def test_who_was_there_before_waits_for_room() -> None:
    assert again(again(Trials(until_s=30), "died").trials, "full").wait_s == FIRST_WAIT_S


def test_refusals_after_a_death_wait_longer_each_time_and_are_forgotten_with_a_new_token() -> None:
    trials = again(Trials(until_s=0), "died", now_s=100).trials
    first = again(trials, "refused", 100)
    second = again(first.trials, "refused", 100)
    assert second.wait_s == 2 * first.wait_s
    assert again(second.trials.gained(), "refused", 100).wait_s == first.wait_s
