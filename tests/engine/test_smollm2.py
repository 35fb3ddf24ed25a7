"""The demo model itself against `transformers`: the same tokens, the same logits, and bf16 near them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import EngineConfig
from engine.engine import Engine
from engine.load import load_engine
from engine.request import Request, SamplingParams

pytestmark = pytest.mark.model

TOKENS = 64
PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village,",
    "def fibonacci(n):",
    "The three primary colours are",
    "Water boils at",
    "To make a cup of tea, first",
    "The president of the United States lives in",
    "In the beginning",
    "Q: What is the largest planet?\nA:",
    "List of fruits:\n-",
    "She opened the door and",
    "The mitochondrion is",
    "import numpy as np\n",
    "Dear Sir or Madam,",
    "The sum of the angles of a triangle",
    "Yesterday I went to",
    "The history of Rome begins",
    "Machine learning is",
    "E = mc^2 means that",
    "Happy birthday to",
]


@pytest.fixture(scope="module")
def reference(demo_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        demo_model.parent, gguf_file=demo_model.name, dtype=torch.float32
    ).eval()


def generate(engine: Engine, prompts: list[tuple[int, ...]]) -> list[list[int]]:
    sampling = SamplingParams(max_tokens=TOKENS, temperature=0, ignore_eos=True)
    for i, prompt in enumerate(prompts):
        engine.add(Request(str(i), prompt, sampling))
    answers: list[list[int]] = [[] for _ in prompts]
    while not engine.idle:
        for request_id, delta in engine.step():
            answers[int(request_id)] += delta.tokens
    return answers


@pytest.fixture(scope="module")
def prompts(demo_model: Path) -> list[tuple[int, ...]]:
    from engine.checkpoint import open_checkpoint

    with open_checkpoint(demo_model) as checkpoint:
        tokenizer = checkpoint.tokenizer()
    return [tuple(tokenizer.encode(prompt)) for prompt in PROMPTS]


def test_greedy_answers_are_those_of_transformers(
    demo_model: Path, reference: Any, prompts: list[tuple[int, ...]]
) -> None:
    engine = load_engine(demo_model, EngineConfig(precision="fp32", threads=1))
    for prompt, answer in zip(prompts, generate(engine, prompts), strict=True):
        assert len(answer) == TOKENS
        # One pass over prompt and answer: where each token is the likeliest after those before it, greedy decoding
        # would have given this very answer.
        with torch.inference_mode():
            logits = reference(torch.tensor([[*prompt, *answer]])).logits[0]
        assert logits[len(prompt) - 1 : -1].argmax(-1).tolist() == answer


def test_bf16_answers_do_not_depend_on_the_company(demo_model: Path, prompts: list[tuple[int, ...]]) -> None:
    engine = load_engine(demo_model, EngineConfig(precision="bf16", threads=1, prefix_cache=False))
    if engine.kernels != "native":
        pytest.skip("torch's own bf16 products round differently for different numbers of rows")
    together = generate(engine, prompts)
    for at in (0, 7, 19):
        assert generate(engine, [prompts[at]]) == [together[at]]


def test_bf16_logits_are_near(demo_model: Path, reference: Any, prompts: list[tuple[int, ...]]) -> None:
    engine = load_engine(demo_model, EngineConfig(precision="bf16", threads=1))
    agreed = total = 0
    for prompt, answer in list(zip(prompts, generate(engine, prompts), strict=True))[:6]:
        with torch.inference_mode():
            logits = reference(torch.tensor([[*prompt, *answer]])).logits[0]
        agreed += int((logits[len(prompt) - 1 : -1].argmax(-1) == torch.tensor(answer)).sum())
        total += len(answer)
    assert agreed / total > 0.9
