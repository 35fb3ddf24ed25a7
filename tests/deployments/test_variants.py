from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.variants import VariantInfo, allowed, split_model_name
from engine.errors import InvalidRequest, ModelNotFound

VARIANTS = (VariantInfo("int8-dynamic", retained=0.98), VariantInfo("bf16", retained=1.0), VariantInfo("fp8"))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("m", ("m", None)), ("m:bf16", ("m", "bf16")), ("a:b", ("a:b", None)), ("a:b:fp32", ("a:b", "fp32"))],
)
def test_names(asked: str, expected: tuple[str, str | None]) -> None:
    assert split_model_name(asked, {"m", "a:b"}) == expected


@pytest.mark.parametrize("asked", ["", "x", "x:bf16", ":bf16", "M"])
def test_unknown_names(asked: str) -> None:
    with pytest.raises(ModelNotFound, match=r"Known models: a:b, m\."):
        split_model_name(asked, {"m", "a:b"})


def test_the_best_comes_first_and_the_unknown_last() -> None:
    assert [one.name for one in allowed("m", VARIANTS)] == ["bf16", "int8-dynamic", "fp8"]
    equals = (VariantInfo("fp32", retained=1.0), VariantInfo("bf16", retained=1.0))
    assert [one.name for one in allowed("m", equals)] == ["fp32", "bf16"]
    assert [one.name for one in allowed("m", equals[::-1])] == ["bf16", "fp32"]


@given(quality=st.floats(0, 1), kept=st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=5))
def test_none_that_keeps_too_little(quality: float, kept: list[float | None]) -> None:
    variants = [VariantInfo(str(i), retained=one) for i, one in enumerate(kept)]
    enough = {one.name for one in variants if (one.retained or 0.0) >= quality}
    if enough:
        assert {one.name for one in allowed("m", variants, min_quality=quality)} == enough
    else:
        with pytest.raises(InvalidRequest):
            allowed("m", variants, min_quality=quality)


def test_no_such_variant() -> None:
    with pytest.raises(ModelNotFound, match="Its variants: int8-dynamic, bf16, fp8"):
        allowed("m", VARIANTS, "int3")
    with pytest.raises(ModelNotFound):
        allowed("m", ())
