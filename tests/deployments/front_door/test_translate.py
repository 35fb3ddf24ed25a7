"""`/translate` and `/languages`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libretranslatepy import LibreTranslateAPI

from deployments.front_door.app import create_app
from deployments.front_door.body import parse_form
from deployments.front_door.schemas.translate import TranslateBody
from engine.errors import EngineFailed, InvalidRequest, Overloaded
from engine.seq2seq.request import Decoding, Translated
from tests.deployments.front_door.encoder_fakes import FakeEncoder, classifier, client_of, service_of
from tests.deployments.front_door.servers import serving
from tests.deployments.front_door.test_operations import samples_of
from tests.deployments.front_door.translation_fakes import LANGUAGE, ByteText, FakeTranslator, translator

PAIR = {"source": "en", "target": "de"}


@pytest.fixture
def engine() -> FakeTranslator:
    return FakeTranslator()


@pytest.fixture
async def client(engine: FakeTranslator) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(translator(engine)) as client:
        yield client


async def test_translate(client: httpx.AsyncClient, engine: FakeTranslator) -> None:
    response = await client.post("/translate", json={"q": "Hello there. Bye!", **PAIR, "api_key": "x", "priority": 2})
    assert response.json() == {"translatedText": "HELLO THERE. BYE!"}
    assert response.headers["x-stageline-variant"] == "fp32"
    assert engine.asked() == ["Hello there.", "Bye!"]
    assert engine.calls == 1
    request = engine.requests[0]
    assert request.decoding == Decoding(max_tokens=128, first_token=LANGUAGE["de"])
    assert (request.priority, request.deadline_s) == (2, None)
    assert len({one.id for one in engine.requests}) == 2


async def test_a_list(client: httpx.AsyncClient, engine: FakeTranslator) -> None:
    body = (await client.post("/translate", json={"q": ["One.\n\nTwo.", "", " ", "Three"], **PAIR})).json()
    assert body == {"translatedText": ["ONE.\n\nTWO.", "", " ", "THREE"]}
    assert engine.calls == 1
    assert (await client.post("/translate", json={"q": ["One"], **PAIR})).json() == {"translatedText": ["ONE"]}


async def test_nothing_to_translate_asks_no_engine(client: httpx.AsyncClient, engine: FakeTranslator) -> None:
    assert (await client.post("/translate", json={"q": " \n ", **PAIR})).json() == {"translatedText": " \n "}
    assert engine.calls == 0


async def test_html(client: httpx.AsyncClient) -> None:
    q = '<p class="green">Hello <b>you &amp; me</b>!</p><code translate="no">x = 1</code>'
    body = (await client.post("/translate", json={"q": q, **PAIR, "format": "html"})).json()
    assert body["translatedText"] == (
        '<p class="green">HELLO <b>YOU &amp; ME</b>!</p><code translate="no">x = 1</code>'
    )
    body = (await client.post("/translate", json={"q": "a <b> c", **PAIR})).json()
    assert body["translatedText"] == "A <B> C"


async def test_alternatives(client: httpx.AsyncClient, engine: FakeTranslator) -> None:
    body = (await client.post("/translate", json={"q": "One. Two.", **PAIR, "alternatives": 2})).json()
    assert body == {"translatedText": "ONE. TWO.", "alternatives": ["ONE.~ TWO.~", "ONE.~~ TWO.~~"]}
    assert (engine.requests[0].decoding.beams, engine.requests[0].decoding.hypotheses) == (3, 3)
    body = (await client.post("/translate", json={"q": ["One.", " "], **PAIR, "alternatives": 1})).json()
    assert body == {"translatedText": ["ONE.", " "], "alternatives": [["ONE.~"], []]}
    html = {"q": "<i>One</i>", **PAIR, "alternatives": 1, "format": "html"}
    assert (await client.post("/translate", json=html)).json()["alternatives"] == ["<i>ONE~</i>"]


async def test_decoding(client: httpx.AsyncClient, engine: FakeTranslator) -> None:
    fields = {
        "beams": 4,
        "length_penalty": 0.6,
        "early_stopping": "never",
        "max_tokens": 1000,
        "min_tokens": 2,
        "no_repeat_ngram_size": 3,
        "repetition_penalty": 1.5,
    }
    await client.post("/translate", json={"q": "a", **PAIR, **fields})
    assert engine.requests[0].decoding == Decoding(
        max_tokens=128,
        min_tokens=2,
        beams=4,
        length_penalty=0.6,
        early_stopping="never",
        no_repeat_ngram=3,
        repetition_penalty=1.5,
        first_token=LANGUAGE["de"],
    )


async def test_sampling(client: httpx.AsyncClient, engine: FakeTranslator) -> None:
    sampled = {"q": "Aa! Aa!", **PAIR, "temperature": 0.7, "top_k": -1, "top_p": 0.9, "min_p": 0.1, "seed": 5}
    await client.post("/translate", json={**sampled, "alternatives": 3})
    one, other = (request.decoding for request in engine.requests)
    assert (one.temperature, one.top_k, one.top_p, one.min_p, one.seed) == (0.7, 0, 0.9, 0.1, 5)
    assert (one.beams, one.hypotheses) == (1, 4)
    assert other.seed != one.seed
    await client.post("/translate", json={**sampled, "alternatives": 3})
    assert engine.requests[2].decoding == one
    assert engine.requests[3].decoding == other
    await client.post("/translate", json={"q": "a", **PAIR, "temperature": 1})
    await client.post("/translate", json={"q": "a", **PAIR, "temperature": 1})
    assert engine.requests[4].decoding.seed != engine.requests[5].decoding.seed


async def test_a_models_own_decoding(engine: FakeTranslator) -> None:
    text = ByteText(
        decoding_defaults=Decoding(max_tokens=50, beams=6, length_penalty=2.0, forbidden=(7,), first_token=9)
    )
    async with client_of(translator(engine, text=text)) as client:
        await client.post("/translate", json={"q": "a", **PAIR, "alternatives": 1})
        await client.post("/translate", json={"q": "a", **PAIR, "temperature": 0.5, "max_tokens": 20})
        await client.post("/translate", json={"q": "a", **PAIR, "beams": 1})
    first, second, third = (request.decoding for request in engine.requests)
    assert (first.beams, first.hypotheses, first.length_penalty, first.max_tokens) == (6, 2, 2.0, 50)
    assert (first.forbidden, first.first_token) == ((7,), LANGUAGE["de"])
    assert (second.beams, second.temperature, second.max_tokens) == (1, 0.5, 20)
    assert (third.beams, third.temperature) == (1, 0.0)


async def test_auto(engine: FakeTranslator) -> None:
    both = translator(engine, text=ByteText(pairs=(("en", "de"), ("fr", "de"), ("de", "en"))))
    async with client_of(both) as client:
        body = (await client.post("/translate", json={"q": "Hallo", "source": "auto", "target": "en"})).json()
        assert body == {"translatedText": "HALLO", "detectedLanguage": {"confidence": 0.0, "language": "de"}}
        body = (await client.post("/translate", json={"q": ["a", "b"], "source": "auto", "target": "en"})).json()
        assert [found["language"] for found in body["detectedLanguage"]] == ["de", "de"]
        error = (await client.post("/translate", json={"q": "Hi", "source": "auto", "target": "de"})).json()["error"]
        assert (error["param"], error["code"]) == ("source", 400)
        assert "en, fr" in error["message"]
        error = (await client.post("/translate", json={"q": "Hi", "source": "auto", "target": "xx"})).json()["error"]
        assert error["param"] == "target"
        assert "de, en" in error["message"]


async def test_the_model_that_has_the_pair(engine: FakeTranslator) -> None:
    back = FakeTranslator(rule=str.lower)
    there_and_back = (translator(engine), translator(back, name="de-en", text=ByteText(pairs=(("de", "en"),))))
    async with client_of(*there_and_back, classifier(FakeEncoder())) as client:
        body = {"q": "Ab", "source": "de", "target": "en"}
        assert (await client.post("/translate", json=body)).json() == {"translatedText": "ab"}
        answer = await client.post("/translate", json={**body, "model": "de-en:bf16"})
        assert answer.headers["x-stageline-variant"] == "bf16"
        assert back.variants == ["fp32", "bf16"]
        error = (await client.post("/translate", json={**body, "model": "en-de"})).json()["error"]
        assert "en -> de" in error["message"]
        assert "de -> en" not in error["message"]
        error = (await client.post("/translate", json={**body, "target": "fr"})).json()["error"]
        assert (error["param"], error["code"]) == ("target", 400)
        assert "en -> de, de -> en" in error["message"]
        error = (await client.post("/translate", json={**body, "model": "intents"})).json()["error"]
        assert "/classify" in error["message"]
        assert (await client.post("/translate", json={**body, "model": "none"})).status_code == 404
        error = (await client.post("/classify", json={"input": "a", "model": "en-de"})).json()["error"]
        assert "/translate" in error["message"]


async def test_languages(engine: FakeTranslator) -> None:
    pairs = (("en", "de"), ("en", "fr"), ("zh", "en"), ("xx", "tlh"))
    other = translator(engine, name="x", text=ByteText(pairs=(("en", "de"), ("en", "cs"))))
    async with client_of(translator(engine, text=ByteText(pairs=pairs)), other) as client:
        assert (await client.get("/languages")).json() == [
            {"code": "en", "name": "English", "targets": ["cs", "de", "fr"]},
            {"code": "xx", "name": "xx", "targets": ["tlh"]},
            {"code": "zh", "name": "Chinese", "targets": ["en"]},
        ]
    async with client_of() as client:
        assert (await client.get("/languages")).json() == []
        response = await client.post("/translate", json={"q": "a", **PAIR})
        assert "No translation model" in response.json()["error"]["message"]


async def test_many_pairs_are_not_all_listed(engine: FakeTranslator) -> None:
    pairs = tuple((f"{one:03}", f"{other:03}") for one in range(100) for other in range(100))
    async with client_of(translator(engine, text=ByteText(pairs=pairs))) as client:
        for source in ("xx", "auto"):
            response = await client.post("/translate", json={"q": "a", "source": source, "target": "000"})
            message = response.json()["error"]["message"]
            assert "more (see GET /languages)" in message
            assert len(message) < 500


@pytest.mark.parametrize(
    ("change", "param", "says"),
    [
        ({"q": None}, "q", "Missing"),
        ({"q": ""}, "q", "empty"),
        ({"q": []}, "q", "must be"),
        ({"q": [1]}, "q", "must be"),
        ({"q": {"a": "b"}}, "q", "must be"),
        ({"q": ["a"] * 2049}, "q", "2,048"),
        ({"q": "a" * 300_000}, "q", "262,144"),
        ({"q": "Aa! " * 5000}, "q", "4,096 sentences"),
        ({"source": None}, "source", "Missing"),
        ({"target": None}, "target", "Missing"),
        ({"source": 5}, "source", "string"),
        ({"source": "xx"}, "source", "en -> de"),
        ({"target": "xx"}, "target", "en -> de"),
        ({"target": ""}, "target", "en -> de"),
        ({"source": "x" * 100_000}, "source", "en -> de"),
        ({"format": "xml"}, "format", "html"),
        ({"alternatives": -1}, "alternatives", "0"),
        ({"alternatives": 16}, "alternatives", "15"),
        ({"alternatives": "2"}, "alternatives", "integer"),
        ({"alternatives": 3, "beams": 2}, "alternatives", "4 beams"),
        ({"beams": 17}, "beams", "16"),
        ({"beams": 0}, "beams", "1"),
        ({"beams": 2, "temperature": 0.5}, "temperature", "Choose one"),
        ({"max_tokens": 0}, "max_tokens", "1"),
        ({"min_tokens": 9, "max_tokens": 5}, "min_tokens", "5"),
        ({"min_tokens": 200}, "min_tokens", "128"),
        ({"top_p": 0}, "top_p", "0"),
        ({"early_stopping": "maybe"}, "early_stopping", "never"),
        ({"targets": "de"}, "targets", "'target'"),
        ({"q": "a\ud800"}, None, "JSON"),
    ],
    ids=lambda value: str(value)[:60].encode("ascii", "replace").decode(),
)
async def test_refused(
    client: httpx.AsyncClient, engine: FakeTranslator, change: dict[str, Any], param: str | None, says: str
) -> None:
    content = json.dumps({"q": "Hello", **PAIR, **change})
    response = await client.post("/translate", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["param"] or "").partition(".")[0] == (param or "")
    assert says in error["message"]
    assert len(error["message"]) < 300
    assert engine.calls == 0


async def test_nul_and_other_characters(client: httpx.AsyncClient) -> None:
    for q in ("a\x00b", "a\u2028b", "\ufeffa", "e\u0301", "👩‍👩‍👧 a"):
        body = (await client.post("/translate", json={"q": q, **PAIR})).json()
        assert body["translatedText"] == q.upper()


async def form(client: httpx.AsyncClient, content: str | bytes, kind: str = "") -> httpx.Response:
    headers = {"content-type": kind or "application/x-www-form-urlencoded"}
    return await client.post("/translate", content=content, headers=headers)


async def test_forms(client: httpx.AsyncClient, engine: FakeTranslator) -> None:
    fields = {"q": "Grüße & more; 100%", **PAIR, "api_key": "", "alternatives": "1", "length_penalty": "2", "seed": ""}
    response = await form(client, urlencode(fields), "application/x-www-form-urlencoded; charset=UTF-8")
    assert response.json()["translatedText"] == "GRÜSSE & MORE; 100%"
    assert engine.requests[0].decoding.length_penalty == 2.0
    assert engine.requests[0].decoding.hypotheses == 2
    response = await form(client, urlencode([("q", "1"), ("q", "true"), ("q", "b"), *PAIR.items()]))
    assert response.json() == {"translatedText": ["1", "TRUE", "B"]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "'q'"),
        (b"q=&source=en&target=de", "empty"),
        (b"q=%ff&source=en&target=de", "form"),
        (b"q=\xff&source=en&target=de", "form"),
        (b"q=%ED%A0%80&source=en&target=de", "form"),
        (b"q=a&source=en&target=de&alternatives=two", "alternatives"),
        (b"q=a&source=en&target=de&alternatives=[1]", "alternatives"),
        (b"q=a&source=en&source=fr&target=de", "source"),
        (b"q=a&source=en&target=de&sorce=x", "Did you mean 'source'"),
        (b"&".join([b"q=a"] * 20_000), "fields"),
        (b"a", "Missing"),
        (b"\x00", "Missing"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_bad_forms(client: httpx.AsyncClient, content: bytes, says: str) -> None:
    response = await form(client, content)
    assert response.status_code == 400
    assert says in response.json()["error"]["message"]


async def test_other_kinds_of_bodies(client: httpx.AsyncClient) -> None:
    for kind in ("text/plain", "multipart/form-data; boundary=x"):
        message = (await form(client, "q=a", kind)).json()["error"]["message"]
        assert "application/x-www-form-urlencoded" in message
    response = await client.post(
        "/classify", content="input=a", headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert response.status_code == 400


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="q=&%source+; \u00e9", max_size=60).map(str.encode))
def test_any_bytes_are_a_form_or_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):  # two fields are needed that are not in it
        parse_form(TranslateBody, raw)


async def test_failures(client: httpx.AsyncClient, engine: FakeTranslator) -> None:
    engine.failure = Overloaded("The queue is full.", retry_after_s=3)
    response = await client.post("/translate", json={"q": "a", **PAIR})
    assert (response.status_code, response.headers["retry-after"]) == (503, "3")
    engine.failure, engine.error = None, EngineFailed("It died.")
    response = await client.post("/translate", json={"q": "a. b.", **PAIR})
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "It died."


async def test_an_engine_without_a_result(engine: FakeTranslator) -> None:
    async def nothing(variant: str, requests: Any) -> tuple[Translated, ...]:
        return tuple(Translated() for _ in requests)

    async def short(variant: str, requests: Any) -> tuple[Translated, ...]:
        return ()

    for translate in (nothing, short):
        async with client_of(translator(engine, translate=translate)) as client:
            assert (await client.post("/translate", json={"q": "a", **PAIR})).status_code == 500


async def test_deadline(client: httpx.AsyncClient, engine: FakeTranslator) -> None:
    engine.gate = asyncio.Event().wait  # type: ignore[assignment]
    response = await client.post("/translate", json={"q": "a", **PAIR}, headers={"x-request-timeout-seconds": "0.05"})
    assert response.status_code == 408
    assert engine.cancelled == 1
    assert engine.requests[0].deadline_s == pytest.approx(engine.requests[0].arrival_s + 0.05)


async def test_metrics(client: httpx.AsyncClient) -> None:
    await client.post("/translate", json={"q": "Abc! De!", **PAIR})
    await client.post("/translate", json={"q": "abcdef", **PAIR, "max_tokens": 4})
    found = samples_of((await client.get("/metrics")).text)
    labels = (("engine", "fp32"), ("model_name", "en-de"))
    success = found["vllm:request_success_total"]
    assert success[(labels[0], ("finished_reason", "stop"), labels[1])] == 2
    assert success[(labels[0], ("finished_reason", "length"), labels[1])] == 1
    assert found["vllm:prompt_tokens_total"][labels] == 5 + 4 + 7
    assert found["vllm:generation_tokens_total"][labels] == 4 + 3 + 4
    assert found["vllm:request_generation_tokens_count"][labels] == 3
    assert found["vllm:e2e_request_latency_seconds_count"][labels] == 3


async def test_openapi(client: httpx.AsyncClient) -> None:
    page = (await client.get("/openapi.json")).json()
    for path in ("/classify", "/predict", "/v1/embeddings", "/embed", "/translate"):
        content = page["paths"][path]["post"]["requestBody"]["content"]
        name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert {"model", "priority"} <= set(page["components"]["schemas"][name]["properties"])
    assert "application/x-www-form-urlencoded" in page["paths"]["/translate"]["post"]["requestBody"]["content"]


@pytest.fixture
def address(engine: FakeTranslator) -> Iterator[str]:
    with serving(create_app(service_of(translator(engine)))) as address:
        yield address


def test_libretranslates_client(address: str, engine: FakeTranslator) -> None:
    for key in (None, "secret"):
        api = LibreTranslateAPI(address, api_key=key)
        assert api.translate("Hello & good bye. It's 5% off?", "en", "de") == "HELLO & GOOD BYE. IT'S 5% OFF?"
        assert api.languages() == [{"code": "en", "name": "English", "targets": ["de"]}]
        for call in (lambda api=api: api.detect("Hello"), lambda api=api: api.translate("Hello", "en", "xx")):
            with pytest.raises(HTTPError) as refused:
                call()
            with refused.value as answer:
                assert answer.code == 400
                assert json.loads(answer.read())["error"]["message"]
    assert api.translate("Hello", "auto", "de") == "HELLO"
