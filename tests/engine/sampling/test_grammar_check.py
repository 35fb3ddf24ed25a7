from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from engine.errors import InvalidRequest, ReplicaLost
from engine.request import GrammarSpec
from engine.sampling import GrammarCompiler, GrammarLimits
from engine.sampling.grammar_check import GrammarChecker
from tests.engine.sampling.byte_tokenizer import ByteTokenizer

TOKENIZER = ByteTokenizer()
SLOW = GrammarSpec(
    "json_schema",
    json.dumps({"type": "object", "properties": {f"name{i}": {"type": "string"} for i in range(2000)}}),
)


def compiler(limits: GrammarLimits) -> GrammarCompiler:
    return GrammarCompiler(TOKENIZER, TOKENIZER.size, (TOKENIZER.eos,), limits)


def test_a_grammar_that_takes_too_long_is_refused_and_the_next_one_is_not() -> None:
    grammars = compiler(GrammarLimits(cpu_s=0.2))
    try:
        with pytest.raises(InvalidRequest, match=r"takes more than 0\.2 s"):
            grammars.compile(SLOW)
        assert grammars.compile(GrammarSpec("regex", "a+")).state().allowed(TOKENIZER.size).any()
    finally:
        grammars.close()


def test_a_grammar_that_is_slow_to_follow_is_refused() -> None:
    grammars = compiler(GrammarLimits(step_s=1e-4, cpu_s=30))
    try:
        with pytest.raises(InvalidRequest, match="ms a token"):
            grammars.compile(GrammarSpec("regex", "(a?){1000}" * 30))
    finally:
        grammars.close()


def test_a_grammar_that_takes_too_much_memory_is_refused() -> None:
    grammars = compiler(GrammarLimits(memory_bytes=0, cpu_s=20))
    try:
        with pytest.raises(InvalidRequest, match=r"memory|makes the grammar compiler fail"):
            grammars.compile(SLOW)
    finally:
        grammars.close()


class WorkerScript:
    """Stands in for the worker: a shell that reads a little, then does what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.starts = 0
        self.scripts: list[str] = []
        start = subprocess.Popen

        def popen(_: list[str], **options: Any) -> subprocess.Popen[bytes]:
            self.starts += 1
            return start(["bash", "-c", self.scripts.pop(0)], **options)

        monkeypatch.setattr(subprocess, "Popen", popen)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> WorkerScript:
    return WorkerScript(monkeypatch)


ANY = GrammarSpec("regex", "a")
READY = r"""head -c 10 >/dev/null; printf '\0\0\0\0\0\0\0\5ready'; head -c 20 >/dev/null; """
GOOD = READY + r"""printf '\0\0\0\0\0\0\0\17{"error": null}'; cat >/dev/null"""


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_is_the_grammars_fault(script: WorkerScript, number: signal.Signals) -> None:
    script.scripts = [READY + f"kill -{int(number)} $$", GOOD]
    checker = GrammarChecker("{}", GrammarLimits())
    assert "makes the grammar compiler fail" in (checker.check(ANY) or "")
    assert checker.check(ANY) is None
    assert script.starts == 2
    checker.close()


def test_a_process_that_left_is_started_again(script: WorkerScript) -> None:
    script.scripts = [READY + "exit 0", GOOD]
    checker = GrammarChecker("{}", GrammarLimits())
    assert checker.check(ANY) is None
    assert script.starts == 2
    checker.close()


def test_an_end_that_comes_back_is_the_grammars_fault(script: WorkerScript) -> None:
    script.scripts = [READY + "kill -9 $$", READY + "exit 3"]
    checker = GrammarChecker("{}", GrammarLimits())
    assert "makes the grammar compiler fail" in (checker.check(ANY) or "")
    checker.close()


def test_a_process_that_ends_before_it_is_ready_is_the_engines_fault(script: WorkerScript) -> None:
    script.scripts = ["exit 3", GOOD]
    checker = GrammarChecker("{}", GrammarLimits())
    with pytest.raises(ReplicaLost, match="cannot be started"):
        checker.check(ANY)
    assert checker.check(ANY) is None
    checker.close()


def test_a_process_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ReplicaLost, match="cannot be started"):
        GrammarChecker("{}", GrammarLimits()).check(ANY)


def test_what_was_tried_elsewhere_needs_no_process() -> None:
    grammars = compiler(GrammarLimits(cpu_s=0.0))
    try:
        assert grammars.compile(GrammarSpec("regex", "a+"), tried=True).state().allowed(TOKENIZER.size).any()
        assert grammars._tools is not None
        assert grammars._tools.checker._process is None
    finally:
        grammars.close()


def test_closing_ends_the_process() -> None:
    grammars = compiler(GrammarLimits())
    grammars.compile(ANY)
    assert grammars._tools is not None
    process = grammars._tools.checker._process
    assert process is not None
    os.kill(process.pid, 0)  # it is there
    grammars.close()
    assert process.returncode == 0
    grammars.compile(GrammarSpec("regex", "b"))  # and another one can be had
    grammars.close()
