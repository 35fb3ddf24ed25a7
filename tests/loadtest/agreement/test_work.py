from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.agreement.rounds import drawn
from loadtest.agreement.work import Rate, Streams, Work, prompts, scenario, schedule
from loadtest.arrivals import schedule as ours
from loadtest.scenario import Closed, Open
from loadtest.workload import ask

WORK = Work("http://localhost:1", "m", Rate(5.0), requests=50, prompt_tokens=8, output_tokens=4, prompts_seed=3)


def test_the_schedule_is_poisson_from_the_first_request_on() -> None:
    times = schedule(WORK, Rate(5.0))
    assert times[0] == 0
    assert times == sorted(times)
    assert len(times) == 50
    assert times[-1] / 49 == pytest.approx(1 / 5.0, rel=0.5)
    assert schedule(WORK, Rate(10.0)) == pytest.approx([at_s / 2 for at_s in times])


def test_an_open_loop_has_the_time_of_its_schedule_and_more() -> None:
    assert WORK.timeout_s == pytest.approx(600 + schedule(WORK, Rate(5.0))[-1])
    assert Work("http://localhost:1", "m", Streams(3), limit_s=5.0).timeout_s == 5.0


def test_ours_is_given_the_same_schedule_and_time_for_all_of_it(tmp_path: Path) -> None:
    made = scenario(WORK, tmp_path)
    assert isinstance(made.load, Open)
    due = [one.at_s for one in ours(made.load, made.total_s, made.seed)]
    assert due == pytest.approx(schedule(WORK, Rate(5.0)))


def test_ours_sends_the_prompts_that_the_others_are_given(tmp_path: Path) -> None:
    made = scenario(WORK, tmp_path)
    sent = [json.loads(ask(made, number).body) for number in range(5)]
    assert [one["prompt"] for one in sent] == prompts(WORK, 5)
    assert {(one["max_tokens"], one["temperature"], one["ignore_eos"]) for one in sent} == {(4, 0, True)}


def test_users_of_a_closed_loop_stop_after_so_many_requests(tmp_path: Path) -> None:
    work = Work("http://localhost:1", "m", Streams(3), requests=20)
    assert scenario(work, tmp_path).load == Closed(users=3, requests=20)


def test_in_a_round_arrivals_are_the_same_and_prompts_are_not() -> None:
    first, second = (drawn(WORK, 1, index) for index in (0, 1))
    assert schedule(first, Rate(5.0)) == schedule(second, Rate(5.0)) != schedule(drawn(WORK, 0, 0), Rate(5.0))
    every = [prompt for number in range(3) for index in range(3) for prompt in prompts(drawn(WORK, number, index), 54)]
    assert len(set(every)) == len(every)
