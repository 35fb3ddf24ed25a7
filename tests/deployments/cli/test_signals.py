from __future__ import annotations

import os
import signal

import pytest

from deployments.cli.signals import Stopped, stopping


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)])
def test_signals_become_one_exception(number: int, status: int) -> None:
    before = signal.getsignal(number)
    with stopping(), pytest.raises(Stopped) as caught:
        os.kill(os.getpid(), number)
    assert caught.value.exit_status == status
    assert signal.getsignal(number) is before


def test_a_stop_in_disguise_is_recognized() -> None:
    def compiled() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except Stopped as stopped:
            raise SystemError("returned a result with an exception set") from stopped

    with stopping() as signals, pytest.raises(Stopped) as caught, signals.undisguised():
        compiled()
    assert caught.value.exit_status == 130


def test_rays_own_answer_to_sigterm_is_recognized() -> None:
    with stopping() as signals, pytest.raises(Stopped) as caught, signals.undisguised():
        raise SystemExit(signal.SIGTERM)
    assert caught.value.exit_status == 0


def test_other_errors_stay_what_they_are() -> None:
    with stopping() as signals, pytest.raises(ValueError, match="x"), signals.undisguised():
        raise ValueError("x")
    with stopping() as signals, pytest.raises(SystemExit), signals.undisguised():
        raise SystemExit(1)
