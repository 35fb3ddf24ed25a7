"""Classification, embeddings and translation over the real path, held against transformers on the same files."""

from __future__ import annotations

import base64
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import libretranslatepy
import numpy as np
import openai
import pytest
import torch

from tests.deployments.server.running import Server
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.model]

QUESTIONS = [
    "My card has not arrived yet.",
    "How do I change my PIN?",
    "I was charged twice for the same thing!",
    "Why was my transfer declined, and what can I do about it now that I have been waiting for more than three days?",
]
SENTENCES = [
    "A man plays the guitar.",
    "Two young girls are sitting in a park, eating ice cream.",
    "A dog runs through the snow.",
    "Several people wait at a bus stop while it rains.",
]


def post(server: Server, path: str, **body: Any) -> Any:
    return httpx.post(f"{server.url}{path}", json=body, timeout=60).raise_for_status().json()


def test_classes_are_those_of_transformers(server: Server, demo_models: dict[str, Path]) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = demo_models["intents"]
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    told = post(server, "/classify", input=QUESTIONS)["data"]
    assert told[0]["label"] == "card_arrival"
    for question, one in zip(QUESTIONS, told, strict=True):
        with torch.no_grad():
            expected = model(**tokenizer(question, return_tensors="pt")).logits[0].softmax(-1)
        assert one["label"] == model.config.id2label[int(expected.argmax())]
        assert one["probs"] == pytest.approx(expected.tolist(), abs=1e-4)
    best = post(server, "/predict", inputs=[[question] for question in QUESTIONS])
    assert [scores[0]["label"] for scores in best] == [one["label"] for one in told]


def test_embeddings_are_those_of_transformers(server: Server, api: openai.OpenAI, demo_models: dict[str, Path]) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = demo_models["minilm"]
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    told = api.embeddings.create(model="minilm", input=QUESTIONS).data
    for question, one in zip(QUESTIONS, told, strict=True):
        with torch.no_grad():
            hidden = model(**tokenizer(question, return_tensors="pt")).last_hidden_state[0]
        expected = torch.nn.functional.normalize(hidden.mean(0), dim=0)
        assert one.embedding == pytest.approx(expected.tolist(), abs=1e-4)
    packed = post(server, "/v1/embeddings", model="minilm", input=QUESTIONS[0], encoding_format="base64")
    values = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), np.float32)
    assert values.tolist() == pytest.approx(told[0].embedding, abs=1e-7)


@pytest.mark.parametrize("beams", [1, 4])
def test_translations_are_those_of_transformers(server: Server, demo_models: dict[str, Path], beams: int) -> None:
    from transformers import MarianMTModel, MarianTokenizer

    folder = demo_models["en-de"]
    model = MarianMTModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = MarianTokenizer.from_pretrained(folder)
    with torch.no_grad():
        out = model.generate(
            **tokenizer(SENTENCES, return_tensors="pt", padding=True), num_beams=beams, do_sample=False
        )
    expected = tokenizer.batch_decode(out, skip_special_tokens=True)
    body = {"q": SENTENCES, "source": "en", "target": "de", "beams": beams}
    assert post(server, "/translate", **body)["translatedText"] == expected
    alone = [post(server, "/translate", **{**body, "q": sentence})["translatedText"] for sentence in SENTENCES]
    assert alone == expected


def test_a_libretranslate_client(server: Server) -> None:
    api = libretranslatepy.LibreTranslateAPI(f"{server.url}/")
    assert api.languages() == [{"code": "en", "name": "English", "targets": ["de"]}]
    assert "Gitarre" in api.translate(SENTENCES[0], "en", "de")


def test_a_text_keeps_its_layout(server: Server) -> None:
    text = "A dog runs.\n\n  A man sleeps.  Two women talk.\n"
    told = post(server, "/translate", q=text, source="en", target="de")["translatedText"]
    assert told.count("\n") == 3
    assert "\n\n  " in told
    page = "<p>A dog <b>runs</b>.</p><script>A man</script>"
    told = post(server, "/translate", q=page, source="en", target="de", format="html")["translatedText"]
    assert told.startswith("<p>")
    assert told.endswith("</p><script>A man</script>")


def test_bad_requests(server: Server) -> None:
    wrong_pair = httpx.post(f"{server.url}/translate", json={"q": "Hallo", "source": "de", "target": "fr"}, timeout=30)
    assert wrong_pair.status_code == 400
    assert "en" in wrong_pair.json()["error"]["message"]
    long = {"model": "minilm", "input": "word " * 1000}
    refused = httpx.post(f"{server.url}/v1/embeddings", json=long, timeout=30)
    assert refused.status_code == 400
    assert "256" in refused.json()["error"]["message"]
    assert len(post(server, "/v1/embeddings", **long, truncate_prompt_tokens=-1)["data"]) == 1
    other = httpx.post(f"{server.url}/classify", json={"model": "minilm", "input": "x"}, timeout=30)
    assert other.status_code == 400
    assert "/v1/embeddings" in other.json()["error"]["message"]


def crowd(work: Callable[[int], Any], count: int) -> list[Any]:
    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(work, range(count)))


def test_company_changes_nothing(server: Server) -> None:
    """32 callers at once get to the last bit what each gets alone."""

    def embed(i: int) -> list[float]:
        text = QUESTIONS[i % 4]
        return list(post(server, "/v1/embeddings", model="minilm", input=text)["data"][0]["embedding"])

    def translate(i: int) -> str:
        return str(post(server, "/translate", q=SENTENCES[i % 4], source="en", target="de", beams=4)["translatedText"])

    alone = [embed(i) for i in range(4)], [translate(i) for i in range(4)]
    assert crowd(embed, 64) == alone[0] * 16
    assert crowd(translate, 64) == alone[1] * 16


def test_more_texts_than_one_call_takes(server: Server) -> None:
    texts = [f"{QUESTIONS[i % 4]} ({i})" for i in range(600)]
    data = post(server, "/classify", input=texts)["data"]
    assert [one["index"] for one in data] == list(range(600))
    again = post(server, "/classify", input=texts[:4])["data"]
    assert [one["probs"] for one in data[:4]] == [one["probs"] for one in again]


def test_a_caller_who_goes_leaves_nothing(server: Server) -> None:
    body = {"q": [" ".join(SENTENCES)] * 400, "source": "en", "target": "de", "beams": 8}
    with pytest.raises(httpx.TimeoutException):
        httpx.post(f"{server.url}/translate", json=body, timeout=0.5)
    wait_until(lambda: server.load("en-de") == (0, 0), "its sentences are dropped")
    assert server.replica("en-de")["sentences"] < 1600


@pytest.mark.parametrize("name", ["minilm", "en-de"])
def test_a_killed_replicas_work_is_done_by_the_next(server: Server, name: str) -> None:
    """What answers whole was told to nobody yet: it is computed again, and no caller sees a fault."""

    def ask(i: int) -> Any:
        if name == "minilm":
            return post(server, "/v1/embeddings", model=name, input=QUESTIONS[i % 4])["data"][0]["embedding"]
        return post(server, "/translate", q=SENTENCES[i % 4], source="en", target="de", beams=4)["translatedText"]

    expected = [ask(i) for i in range(4)]
    pid = server.replica(name)["pid"]
    threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
    assert crowd(ask, 400) == expected * 100
    wait_until(lambda: server.replica(name).get("pid") not in (None, pid), "a new replica answers")
