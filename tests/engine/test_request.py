from __future__ import annotations

import pickle

from engine.errors import EngineFailed, InvalidRequest, Overloaded
from engine.request import Delta, FinishReason, Timings, TokenLogprobs


def test_a_delta_arrives_as_it_was_sent() -> None:
    one = TokenLogprobs(3, -0.5, 1, ((3, -0.5),))
    delta = Delta((3,), FinishReason.STOP, (one,), (None, one), 7, Timings(1.0, 2.0, 3.0))
    assert pickle.loads(pickle.dumps(delta)) == delta


def test_errors_keep_what_they_know_between_processes() -> None:
    error = pickle.loads(pickle.dumps(Delta(error=Overloaded("full", retry_after_s=3.0)))).error
    assert isinstance(error, Overloaded)
    assert (error.message, error.retry_after_s) == ("full", 3.0)
    assert pickle.loads(pickle.dumps(InvalidRequest("no", param="top_p"))).param == "top_p"
    assert str(pickle.loads(pickle.dumps(EngineFailed("gone")))) == "gone"
