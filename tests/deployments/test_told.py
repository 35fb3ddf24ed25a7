from __future__ import annotations

from deployments.told import Told, rest, tells_loss
from engine.errors import EngineFailed, ReplicaLost
from engine.request import Delta, FinishReason, Request, SamplingParams, Timings, TokenLogprobs

REQUEST = Request("r", (1, 2, 3), SamplingParams(max_tokens=5, prompt_logprobs=1, seed=7))
LOGPROB = TokenLogprobs(2, -1.0, 1)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_first_run_goes_through_untouched() -> None:
    told = Told(REQUEST)
    assert told.request() is REQUEST
    for delta in (Delta((1,), cached_tokens=2), Delta((2,), cached_tokens=2), Delta((3,), FinishReason.STOP)):
        assert told.take(delta) is delta


def test_a_run_lost_before_its_first_token_is_asked_for_again_as_it_was() -> None:
    told = Told(REQUEST)
    told.request()
    assert told.request() is REQUEST
    first = Delta((1,), prompt_logprobs=(None, LOGPROB))
    assert told.take(first) is first


def test_the_next_run_gets_all_tokens_and_tells_nothing_twice() -> None:
    told = Told(REQUEST)
    told.request()
    told.take(Delta((4,), prompt_logprobs=(None, LOGPROB), cached_tokens=2))
    told.take(Delta((5, 6), cached_tokens=2))
    asked = told.request()
    assert asked.generated == (4, 5, 6)
    assert asked.prompt == REQUEST.prompt
    assert asked.sampling.prompt_logprobs is None
    assert asked.sampling.seed == 7
    assert asked.sampling.max_tokens == 5
    assert told.take(Delta((7,), cached_tokens=3, logprobs=(LOGPROB,))) == Delta(
        (7,), cached_tokens=2, logprobs=(LOGPROB,)
    )
    told.take(Delta((8,)))
    assert told.request().generated == (4, 5, 6, 7, 8)


def test_tokens_that_came_with_the_request_stay() -> None:
    told = Told(Request("r", (1,), SamplingParams(max_tokens=9), generated=(2, 3)))
    assert told.request().generated == (2, 3)
    told.take(Delta((4,)))
    assert told.request().generated == (2, 3, 4)


def test_times_are_those_that_the_reader_saw() -> None:
    clock = Clock()
    told = Told(REQUEST, clock)
    told.request()
    told.take(Delta((4,), timings=Timings(0.5, 0.25, 0.0)))
    clock.now_s += 10
    told.request()
    last = told.take(Delta((5,), FinishReason.STOP, timings=Timings(10.0, 0.1, 0.2)))
    assert last.timings == Timings(0.5, 0.25, 10.0)


def test_where_only_the_end_was_lost_nobody_is_asked() -> None:
    clock = Clock()
    told = Told(REQUEST, clock)
    told.request()
    assert told.complete() is None
    told.take(Delta((1, 2, 3, 4), cached_tokens=2, timings=Timings(0.5, 0.25, 0.0)))
    assert told.complete() is None
    told.take(Delta((5,), cached_tokens=2))
    clock.now_s += 4
    assert told.complete() == Delta(finish_reason=FinishReason.LENGTH, cached_tokens=2, timings=Timings(0.5, 0.25, 4.0))


def test_tokens_that_came_along_with_the_bad_news_are_kept() -> None:
    news = Delta((4, 5), FinishReason.ERROR, error=ReplicaLost("gone"), cached_tokens=2)
    assert tells_loss(news)
    assert rest(news) == Delta((4, 5), cached_tokens=2)
    assert rest(Delta(finish_reason=FinishReason.ERROR, error=ReplicaLost("gone"))) is None


def test_other_errors_are_the_requests_own() -> None:
    assert not tells_loss(Delta(finish_reason=FinishReason.ERROR, error=EngineFailed("a step failed")))
    assert not tells_loss(Delta((1,)))
