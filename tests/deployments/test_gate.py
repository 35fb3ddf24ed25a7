"""The gate: what loses too much, and what nobody knows the loss of, is refused with the figures."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gate import check_gate, losses
from deployments.quality import Quality
from deployments.settings import Gate, Model, Task
from engine.config import Precision
from engine.errors import ConfigError
from tests.deployments.measured import quality

BASE, RECIPE = "b" * 64, "r" * 64
NAME = "tiny:int8-dynamic"


def model(task: Task = "text-generation", **gate: float) -> Model:
    return Model(name="tiny", task=task, source="tiny", gate=Gate(**gate))


def refusal(measured: Quality | None, **options: bool) -> str:
    with pytest.raises(ConfigError) as caught:
        check_gate(NAME, measured, model(), "int8-dynamic", BASE, RECIPE, **options)
    return caught.value.message


@pytest.mark.parametrize(
    ("task", "scores"),
    [
        ("text-generation", {"perplexity": 20.99}),
        ("text-generation", {"perplexity": 10.0}),
        ("text-classification", {"accuracy": 0.9251}),
        ("translation", {"bleu": 35.75, "bleu_4_beams": 36.71, "chrf": 1.0}),
        ("embedding", {"cosine": 0.9901}),
    ],
)
def test_what_keeps_its_quality_is_served(task: Task, scores: dict[str, float]) -> None:
    measured = quality(task, scores)
    verdict = check_gate(NAME, measured, model(task), "int8-dynamic", BASE, RECIPE)
    assert (verdict.quality, verdict.measured, verdict.warning) == (measured, True, None)


@pytest.mark.parametrize(
    ("task", "scores", "told"),
    [
        ("text-generation", {"perplexity": 21.5}, r"perplexity 21.5 where fp32 has 20 \(\+7.50%, allowed \+5.00%\)"),
        ("text-generation", {"perplexity": math.nan}, "perplexity nan"),
        ("text-generation", {"perplexity": math.inf}, "perplexity inf"),
        (
            "text-classification",
            {"accuracy": 0.92},
            r"accuracy 0.9200 where fp32 has 0.9300 \(-0.0100, allowed -0.0050",
        ),
        ("translation", {"bleu": 35.6}, r"BLEU 35.60 where fp32 has 36.00 \(-0.40, allowed -0.30\)"),
        ("translation", {"bleu_4_beams": 36.5}, r"BLEU 4 beams 36.50 where fp32 has 37.00 \(-0.50, allowed -0.30\)"),
        ("embedding", {"cosine": 0.98}, r"mean cosine 0.98000 to the vectors of fp32 \(at least 0.99000\)"),
    ],
)
def test_what_loses_too_much_is_refused_with_the_figures(task: Task, scores: dict[str, float], told: str) -> None:
    for allow in (False, True):  # that it was measured, and how badly, is known: nothing to allow
        with pytest.raises(ConfigError, match=told) as caught:
            check_gate(NAME, quality(task, scores), model(task), "int8-dynamic", BASE, RECIPE, allow_unmeasured=allow)
        assert caught.value.message.startswith(f"{NAME} loses too much")


def test_a_wider_gate_lets_it_through() -> None:
    wide = model(max_perplexity_increase=0.08)
    assert check_gate(NAME, quality(scores={"perplexity": 21.5}), wide, "int8-dynamic", BASE, RECIPE).measured


@given(st.floats(0, 100), st.floats(0, 1))
def test_the_gate_is_monotone(perplexity: float, most: float) -> None:
    (loss,) = losses(quality(scores={"perplexity": perplexity}), Gate(max_perplexity_increase=most))
    assert loss.too_much == (perplexity / 20 - 1 > most)


@pytest.mark.parametrize(
    ("measured", "told"),
    [
        (None, "its quality was never measured"),
        (quality(base="c" * 64), "of other weights (cccccccccccc, these are bbbbbbbbbbbb)"),
        (quality(recipe="s" * 64), "with another recipe (ssssssssssss, this is rrrrrrrrrrrr)"),
        (quality(recipe=None), "with another recipe (none, this is rrrrrrrrrrrr)"),
        (quality(precision="int4-weight"), "measured at int4-weight"),
        (quality("text-classification"), "measured for text-classification"),
    ],
)
def test_what_was_not_measured_is_served_only_if_allowed(measured: Quality | None, told: str) -> None:
    message = refusal(measured)
    assert told in message
    assert "stageline quantize tiny --precision int8-dynamic" in message
    assert "--allow-unmeasured" in message
    verdict = check_gate(NAME, measured, model(), "int8-dynamic", BASE, RECIPE, allow_unmeasured=True)
    assert (verdict.quality, verdict.measured) == (None, False)
    assert verdict.warning is not None
    assert told in verdict.warning


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_not_quantized_needs_no_measurement(precision: Precision) -> None:
    verdict = check_gate("tiny:bf16", None, model(), precision, BASE, None)
    assert (verdict.quality, verdict.measured, verdict.warning) == (None, True, None)
    stale = check_gate(
        "tiny:bf16", quality(precision=precision, base="c" * 64, recipe=None), model(), precision, BASE, None
    )
    assert stale.quality is None
    assert stale.warning is not None


def test_bf16_that_was_measured_is_held_to_the_gate() -> None:
    good = quality(precision="bf16", recipe=None)
    assert check_gate("tiny:bf16", good, model(), "bf16", BASE, None).quality == good
    with pytest.raises(ConfigError, match="tiny:bf16 loses too much"):
        check_gate(
            "tiny:bf16", quality(precision="bf16", recipe=None, scores={"perplexity": 22}), model(), "bf16", BASE, None
        )
