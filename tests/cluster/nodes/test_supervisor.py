from __future__ import annotations

import threading

from cluster.nodes.supervisor import Supervisor
from engine.errors import EngineFailed

LIMIT_S = 30.0


def test_it_asks_for_all_again_and_again_and_survives_failures() -> None:
    asked: list[str] = []
    enough = threading.Event()

    def revive(name: str) -> bool:
        asked.append(name)
        if len(asked) >= 4:
            enough.set()
        if name == "a":
            raise EngineFailed("not yet")
        return True

    with Supervisor(revive, ["a", "b"]):
        assert enough.wait(LIMIT_S)
    assert asked[:4] == ["a", "b", "a", "b"]
    before = len(asked)
    assert not [thread for thread in threading.enumerate() if thread.name == "supervisor"]
    assert len(asked) == before
