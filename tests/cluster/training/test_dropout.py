from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from cluster.training.dropout import ByteDropout, byte_dropout


def test_drops_the_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    out = byte_dropout(torch.ones(1000, 301), p=0.3)
    assert float((out == 0).float().mean()) == pytest.approx(77 / 256, abs=0.005)
    assert float(out.mean()) == pytest.approx(1.0, abs=0.005)
    assert len(out.unique()) == 2


def test_the_seed_decides_and_gradients_go_where_the_values_went() -> None:
    torch.manual_seed(5)
    value = torch.ones(17, 3, requires_grad=True)
    out = byte_dropout(value, p=0.5)
    out.sum().backward()
    torch.testing.assert_close(value.grad, out.detach())
    torch.manual_seed(5)
    torch.testing.assert_close(byte_dropout(value, p=0.5), out)
    assert not torch.equal(byte_dropout(value, p=0.5), out)


def test_nothing_is_dropped_outside_of_training() -> None:
    value = torch.randn(10)
    assert byte_dropout(value, p=0.5, training=False) is value
    assert byte_dropout(value, p=0.0) is value
    assert not byte_dropout(value, p=1.0).any()


def test_the_mode_replaces_the_function_only_while_active() -> None:
    layer = torch.nn.Dropout(0.5)
    torch.manual_seed(1)
    with ByteDropout():
        inside = layer(torch.ones(64))
    torch.manual_seed(1)
    torch.testing.assert_close(inside, byte_dropout(torch.ones(64), 0.5))
    torch.manual_seed(1)
    outside = functional.dropout(torch.ones(64), 0.5)
    assert not torch.equal(inside, outside)


def test_reduced_precision_stays_reduced() -> None:
    assert byte_dropout(torch.ones(8, dtype=torch.bfloat16), 0.5).dtype == torch.bfloat16
