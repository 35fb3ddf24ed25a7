"""The real baseline in its own process: what it answers, and that nothing is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import torch

from cluster.node import free_ports
from deployments.benchmark.baseline_models import PlainClassifier, PlainTranslator
from deployments.settings import DEMO_CONFIG
from engine.checkpoint import open_checkpoint
from engine.config import EngineConfig
from engine.load import load_layers, make_engine
from engine.pipeline.runner import LocalRunner
from engine.request import Request, SamplingParams

LIMIT_S = 180.0
PROMPT = "Once upon a time there was a small engine that"
TEXT = "My card has not arrived yet, what should I do?"
SENTENCE = "Two dogs run over the wet grass."


@pytest.fixture(scope="module")
def baseline(demo_models: dict[str, Path]) -> Iterator[str]:
    """Its URL; at the end it must end cleanly."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "deployments.benchmark.baseline", str(DEMO_CONFIG), "--port", str(port)]
    process = subprocess.Popen([*command, "--threads", "1"], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready == {"ready": f"http://127.0.0.1:{port}", "threads": 1}
        below = psutil.Process(process.pid).children(recursive=True)
        assert any("ServeReplica" in " ".join(one.cmdline()) for one in below)
        yield ready["ready"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        _, left = psutil.wait_procs(below, timeout=10)
        assert left == []
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def post(url: str, path: str, **body: Any) -> Any:
    return httpx.post(f"{url}{path}", json=body, timeout=LIMIT_S).raise_for_status().json()


@torch.inference_mode()
def greedy(model: Any, ids: list[int], count: int, **inputs: Any) -> list[int]:
    """The likeliest token after all before, again and again, each time computed from the beginning."""
    key = "decoder_input_ids" if inputs else "input_ids"
    found = list(ids)
    for _ in range(count):
        logits = model(**inputs, **{key: torch.tensor([found])}, use_cache=False).logits
        found.append(int(logits[0, -1].argmax()))
    return found[len(ids) :]


@pytest.mark.ray
@pytest.mark.model
def test_a_completion_has_the_tokens_that_stageline_gives_in_fp32(baseline: str, demo_model: Path) -> None:
    answer = post(baseline, "/v1/completions", model="m", prompt=PROMPT, max_tokens=12, ignore_eos=True, temperature=0)
    with open_checkpoint(demo_model) as checkpoint:
        config = EngineConfig(precision="fp32", threads=1, kv_cache_bytes=16 << 20)
        engine = make_engine(checkpoint, config, LocalRunner(load_layers(checkpoint, config).compute))
        tokenizer = checkpoint.tokenizer()
    prompt = tuple(tokenizer.encode(PROMPT))
    engine.add(Request("r", prompt, SamplingParams(max_tokens=12, temperature=0, ignore_eos=True), arrival_s=0.0))
    tokens: list[int] = []
    while not engine.idle:
        tokens += [token for _, delta in engine.step() for token in delta.tokens]
    assert answer["choices"][0]["text"] == tokenizer.decode(tokens)
    usage = {"prompt_tokens": len(prompt), "completion_tokens": 12, "total_tokens": len(prompt) + 12}
    assert answer["usage"] == usage
    assert answer["choices"][0]["finish_reason"] == "length"
    refused = httpx.post(f"{baseline}/v1/completions", json={"prompt": PROMPT, "stream": True}, timeout=LIMIT_S)
    assert refused.status_code == 400
    assert "one piece" in refused.json()["error"]["message"]


@pytest.mark.ray
@pytest.mark.model
def test_a_text_gets_transformers_own_probabilities(baseline: str, demo_models: dict[str, Path]) -> None:
    one, two = post(baseline, "/classify", model="m", input=[TEXT, SENTENCE])["data"]
    plain = PlainClassifier(demo_models["intents"], 1)
    with torch.inference_mode():
        logits = plain.model(**plain.tokenizer(TEXT, return_tensors="pt")).logits[0]
    assert one["probs"] == pytest.approx(torch.softmax(logits, -1).tolist(), abs=1e-5)
    assert one["label"] == plain.model.config.id2label[int(logits.argmax())]
    assert (one["num_classes"], two["index"]) == (len(logits), 1)
    assert httpx.get(f"{baseline}/classify", timeout=LIMIT_S).json()["threads"] == 1


@pytest.mark.ray
@pytest.mark.model
def test_a_translation_is_transformers_own(baseline: str, demo_models: dict[str, Path]) -> None:
    answer = post(baseline, "/translate", q=SENTENCE, source="en", target="de")["translatedText"]
    plain = PlainTranslator(demo_models["en-de"], 1)
    config, inputs = plain.model.generation_config, plain.tokenizer(SENTENCE, return_tensors="pt")
    tokens = greedy(plain.model, [config.decoder_start_token_id], 20, **inputs)
    assert config.eos_token_id in tokens
    expected = tokens[: tokens.index(config.eos_token_id)]
    assert answer == plain.tokenizer.decode(expected, skip_special_tokens=True)
    assert post(baseline, "/translate", q=[SENTENCE, SENTENCE], source="en", target="de") == {
        "translatedText": [answer, answer]
    }


@pytest.mark.ray
@pytest.mark.model
def test_it_is_healthy(baseline: str) -> None:
    assert httpx.get(f"{baseline}/health", timeout=LIMIT_S).status_code == 200
