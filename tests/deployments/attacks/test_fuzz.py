from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest
from hypothesis import given

from deployments.attacks import damage, fuzz, texts_fuzz
from deployments.attacks.damage import READERS, Reader
from deployments.attacks.readers_fuzz import damaged
from deployments.attacks.texts_fuzz import PROPERTIES, tried
from engine.errors import CheckpointError


@pytest.mark.parametrize("prove", PROPERTIES, ids=lambda prove: prove.__name__)
def test_texts_that_nobody_writes(prove: Callable[[], None]) -> None:
    tried(prove, 60)()


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(name: str) -> None:
    reader = READERS[name]
    reader.read(reader.seed)
    damaged(reader, 60)


def test_a_reader_that_raises_another_error_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(data: bytes) -> None:
        if b"\xff" in data:
            raise CheckpointError("ours") if len(data) < 3 else KeyError("not ours")

    monkeypatch.setattr(damage, "READERS", {"made": Reader(b"abcdef", read)})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "atheris" else object())
    outcome = fuzz.attack_readers(examples=200)
    assert len(outcome.faults) == 1
    assert outcome.faults[0].startswith("made: KeyError")


def test_a_property_that_does_not_hold_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @given(texts_fuzz.sound_text)
    def short(text: str) -> None:
        assert len(text) < 3

    monkeypatch.setattr(texts_fuzz, "PROPERTIES", (short,))
    assert fuzz.attack_texts(examples=100).faults[0].startswith("short: AssertionError")
