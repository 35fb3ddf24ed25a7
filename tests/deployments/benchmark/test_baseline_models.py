"""How the baseline finds its number of threads, and how its generator goes on after an end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from deployments.benchmark import baseline_models
from deployments.benchmark.baseline_models import LETTER, PROMPT, TOKENS, PlainGenerator, counts, tried, use_threads
from deployments.benchmark.works import SCENARIOS, WORKS, scenario_of
from deployments.cli.benchmark import OPTIMIZED_CONFIG
from deployments.settings import load_settings
from loadtest.workload import texts
from tests.deployments.tiny_served import write_model


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_powers_of_two_and_the_most_are_tried() -> None:
    assert [counts(most) for most in (1, 2, 3, 6, 8)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 6], [1, 2, 4, 8]]


@pytest.mark.parametrize(("seconds", "best"), [({1: 3.0, 2: 2.0, 4: 2.5}, 2), ({1: 1.0, 2: 1.0, 4: 9.0}, 1)])
def test_the_fastest_number_is_taken_however_slow_one_try_was(
    seconds: dict[int, float], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, count = [0.0], [0]

    def work() -> None:
        count[0] += 1
        now[0] += seconds[torch.get_num_threads()] + (100.0 if count[0] == 2 else 0.0)

    assert tried(work, list(seconds), lambda: now[0]) == seconds
    monkeypatch.setattr(baseline_models, "tried", lambda work, counts: seconds)
    assert use_threads(0, 4, work) == seconds
    assert torch.get_num_threads() == best


def test_a_number_that_is_given_is_not_questioned() -> None:
    assert use_threads(3, 8, lambda: pytest.fail("nothing is to be tried")) == {}
    assert torch.get_num_threads() == 3
    assert use_threads(0, 1, lambda: pytest.fail("there is no other")) == {}
    assert torch.get_num_threads() == 1


def test_what_is_tried_is_as_long_as_what_is_asked() -> None:
    asked = {work.name: scenario_of(work, SCENARIOS, load_settings(OPTIMIZED_CONFIG)).requests[0] for work in WORKS}
    assert asked["generation"].output_tokens == TOKENS
    assert asked["generation"].prompt_tokens == len(PROMPT.split())
    letters = [len(text.split()) for text in texts(asked["classification-letters"].texts)]
    assert min(letters) <= len(LETTER.split()) <= max(letters)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> PlainGenerator:
    return PlainGenerator(write_model("text-generation", tmp_path_factory.mktemp("model")), 1)


@torch.inference_mode()
def test_a_generated_token_is_the_likeliest_after_all_before(small: PlainGenerator) -> None:
    prompt, tokens = small.complete(PROMPT, 8, ignore_eos=True)
    assert prompt == small.tokenizer(PROMPT)["input_ids"]
    for at, token in enumerate(tokens):
        logits = small.model(input_ids=torch.tensor([prompt + tokens[:at]]), use_cache=False).logits
        assert int(logits[0, -1].argmax()) == token
    assert len(tokens) == 8


def test_an_answer_goes_on_after_the_end_where_that_is_asked_for(small: PlainGenerator) -> None:
    _, whole = small.complete(PROMPT, 12, ignore_eos=True)
    ends, small.ends = small.ends, whole[5]
    try:
        _, short = small.complete(PROMPT, 12, ignore_eos=False)
        _, long = small.complete(PROMPT, 12, ignore_eos=True)
    finally:
        small.ends = ends
    assert short == whole[: whole.index(whole[5]) + 1]
    assert long == whole
    assert len(whole) == 12
