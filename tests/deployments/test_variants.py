from __future__ import annotations

import pytest

from deployments.variants import VariantInfo, choose_variant, split_model_name
from engine.errors import ModelNotFound

VARIANTS = (VariantInfo("bf16"), VariantInfo("int8-dynamic"))


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


def test_the_first_ready_variant_answers() -> None:
    assert choose_variant("m", VARIANTS, None) == "bf16"
    starting = (VariantInfo("bf16", "starting"), VariantInfo("int8-dynamic"))
    assert choose_variant("m", starting, None) == "int8-dynamic"
    assert choose_variant("m", starting[:1], None) == "bf16"


def test_a_pinned_variant_answers_whatever_its_state() -> None:
    assert choose_variant("m", VARIANTS, "int8-dynamic") == "int8-dynamic"
    assert choose_variant("m", (VariantInfo("bf16", "starting"),), "bf16") == "bf16"


def test_no_such_variant() -> None:
    with pytest.raises(ModelNotFound, match="Its variants: bf16, int8-dynamic"):
        choose_variant("m", VARIANTS, "int3")
    with pytest.raises(ModelNotFound):
        choose_variant("m", (), None)
