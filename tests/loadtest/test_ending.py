from __future__ import annotations

import os
import signal
import time

import pytest
import typer

from loadtest.ending import told
from loadtest.errors import LoadTestError


@pytest.mark.parametrize("error", [LoadTestError("no such model"), PermissionError(13, "Permission denied", "out")])
def test_errors_end_with_their_words(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, told():
        raise error
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err == f"Error: {error}\n"


def test_a_sigterm_is_as_ctrl_c_and_only_within() -> None:
    undone, before = [], signal.getsignal(signal.SIGTERM)

    def stopped() -> None:
        with told():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(10)
            finally:
                undone.append(True)

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert undone
    assert signal.getsignal(signal.SIGTERM) is before
