from __future__ import annotations

from typing import Any

from deployments.benchmark.pages import whole_table
from deployments.benchmark.peers_table import cells, markdown
from deployments.benchmark.terminal import notes, rich_tables
from tests.deployments.benchmark.measured import result, server


def with_peer() -> dict[str, Any]:
    about = {"title": "a server", "version": "0.3.2", "command": "serve {model}", "url": "", "file": "m.Q4_1.gguf"}
    found = result(peers={"other": about})
    found["works"]["generation"]["servers"]["other"] = server([1.0, 2.0, 1.0], callers=2, prompt_tokens=33)
    return found


def test_peers_have_a_table_of_their_own() -> None:
    assert cells(result()) == []
    assert markdown(result()) == ""
    ((name, callers, prompt, theirs, our_callers, _, ours, over, _),) = cells(with_peer())
    assert (name, callers, prompt, theirs) == ("other", "2", "33", "64 (32 to 64)")
    assert (our_callers, ours, over) == ("8", "128 (128 to 256)", "2.00x [2.00 to 8.00]")


def test_what_a_peer_is_and_how_it_was_run_is_told() -> None:
    text = whole_table(with_peer())
    assert "**other** 0.3.2: a server; with the weights as m.Q4_1.gguf has them" in text
    assert "`serve {model}`" in text


def test_the_terminal_has_both_tables_and_what_they_leave_out() -> None:
    assert len(rich_tables(result())) == 1
    assert len(rich_tables(with_peer())) == 2
    first, _, third, *_ = notes(with_peer())
    assert "32 callers (2 of the baseline)" in first
    assert "50% of 4 answers" in first
    assert "p99" in third
