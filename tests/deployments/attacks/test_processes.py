from __future__ import annotations

import pytest

from deployments.attacks.processes import Holdings, variant_in


@pytest.mark.parametrize(
    ("title", "variant"),
    [
        ("ray::ServeReplica:stageline:smollm2--bf16", "smollm2--bf16"),
        ("ray::ServeReplica:stageline:qwen2.5--int8-dynamic      ", "qwen2.5--int8-dynamic"),
        ("ray::SERVE_REPLICA::stageline#en-de--bf16#x:ServeReplica:stageline:en-de--bf16.__init__", "en-de--bf16"),
        ("haproxy -db -f haproxy.cfg", None),
    ],
)
def test_a_replica_is_told_by_its_processs_title(title: str, variant: str | None) -> None:
    assert variant_in(title) == variant


def test_holdings_add_up() -> None:
    held = Holdings({"a:1": 3, "b:2": 4}, {"a:1": 5})
    assert (held.total("mib"), held.total("files")) == (7, 5)
