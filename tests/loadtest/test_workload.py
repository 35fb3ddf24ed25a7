from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from loadtest.errors import LoadTestError
from loadtest.scenario import Closed, Range, Requests, Scenario
from loadtest.workload import Ask, ask, texts


def scenario(*requests: Requests, seed: int = 0) -> Scenario:
    return Scenario(name="s", requests=requests, load=Closed(users=1), seed=seed)


def body(one: Ask) -> dict[str, object]:
    found: dict[str, object] = json.loads(one.body)
    return found


def test_a_number_has_one_request_and_others_have_others() -> None:
    given = scenario(Requests(kind="completions", model="m"))
    assert ask(given, 5) == ask(given, 5)
    prompts = {body(ask(given, number))["prompt"] for number in range(100)}
    assert len(prompts) == 100
    assert body(ask(scenario(*given.requests, seed=1), 5)) != body(ask(given, 5))


def test_a_streamed_completion_asks_for_exact_lengths_and_the_usage() -> None:
    one = ask(scenario(Requests(kind="completions", model="m", prompt_tokens=12, output_tokens=7)), 0)
    found = body(one)
    assert one.path == "/v1/completions"
    assert one.exact_tokens == 7
    assert len(str(found.pop("prompt")).split()) == 12
    assert found == {
        "model": "m",
        "max_tokens": 7,
        "temperature": 0,
        "seed": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_chat_in_one_piece_that_may_end_early() -> None:
    one = ask(scenario(Requests(kind="chat", model="m", stream=False, exact=False, body={"top_p": 0.5})), 0)
    found = body(one)
    assert one.path == "/v1/chat/completions"
    assert one.exact_tokens == 0
    assert [message["role"] for message in found["messages"]] == ["user"]  # type: ignore[attr-defined]
    assert found["top_p"] == 0.5
    assert not {"stream", "ignore_eos", "stream_options"} & found.keys()


def test_lengths_are_drawn_from_the_range_and_a_trace_goes_before() -> None:
    given = scenario(Requests(kind="completions", model="m", prompt_tokens=Range(low=3, high=5)))
    drawn = {len(str(body(ask(given, number))["prompt"]).split()) for number in range(60)}
    assert drawn == {3, 4, 5}
    long = body(ask(given, 0, prompt_tokens=40, output_tokens=2))
    assert len(str(long["prompt"]).split()) == 40
    assert long["max_tokens"] == 2
    assert ask(given, 0, prompt_tokens=40, output_tokens=2).exact_tokens == 2


@pytest.mark.parametrize("more", [{"stop": ["."]}, {"max_tokens": 3}, {"n": 2}, {"ignore_eos": False}])
def test_a_body_with_a_length_of_its_own_is_held_to_none(more: dict[str, object]) -> None:
    assert ask(scenario(Requests(kind="chat", model="m", body=more)), 0).exact_tokens == 0
    assert ask(scenario(Requests(kind="chat", model="m", body={"top_p": 0.5})), 0).exact_tokens == 64


def test_texts_have_no_tokens_of_their_own() -> None:
    assert ask(scenario(Requests(kind="classify", model="m")), 0).exact_tokens == 0


def test_the_mix_is_drawn_by_weight() -> None:
    given = scenario(Requests(kind="classify", model="a", weight=3), Requests(kind="translate", model="b", weight=1))
    counts = Counter(ask(given, number).kind for number in range(4000))
    assert counts["classify"] / counts["translate"] == pytest.approx(3, rel=0.12)


def test_texts_come_in_batches_and_one_alone_is_no_list(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("one\n\n two \n")
    single = ask(scenario(Requests(kind="classify", model="m", texts=path)), 0)
    assert body(single)["input"] in ("one", "two")
    several = ask(scenario(Requests(kind="translate", model="m", texts=path, batch=3, source="en", target="fr")), 0)
    found = body(several)
    assert (found["source"], found["target"], found["model"], several.items) == ("en", "fr", "m", 3)
    assert isinstance(found["q"], list)
    assert len(found["q"]) == 3


def test_our_own_texts_are_there() -> None:
    for kind in ("classify", "embeddings", "translate"):
        assert ask(scenario(Requests(kind=kind, model="m")), 0).body


def test_a_file_without_texts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.write_text("\n")
    with pytest.raises(LoadTestError, match="there is no text in it"):
        texts(path)
    with pytest.raises(LoadTestError, match="cannot be read"):
        texts(tmp_path / "absent.txt")
