"""Runs the fuzzing: properties by Hypothesis, readers of checkpoints by Hypothesis and, where there is one, atheris."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from deployments.attacks.outcome import Outcome

EXAMPLES = 400
GUIDED_S = 15  # for each reader
_MORE_S = 90  # for atheris to begin and to end
_MISSING = "hypothesis is not installed: pip install 'stageline[attack]'"


def attack_texts(examples: int = EXAMPLES) -> Outcome:
    """All properties of `texts_fuzz`."""
    if importlib.util.find_spec("hypothesis") is None:
        return Outcome(skipped=_MISSING)
    from deployments.attacks.texts_fuzz import PROPERTIES, tried

    outcome = Outcome(seen={"properties": [prove.__name__ for prove in PROPERTIES], "examples of each": examples})
    for prove in PROPERTIES:
        try:
            tried(prove, examples)()
        except Exception as error:
            outcome.faults.append(f"{prove.__name__}: {type(error).__name__}: {str(error)[:300]}")
    return outcome


def attack_readers(examples: int = EXAMPLES, guided_s: int = GUIDED_S) -> Outcome:
    """Sound files with damage in them: what reads them may raise our own errors only, and must come back."""
    if importlib.util.find_spec("hypothesis") is None:
        return Outcome(skipped=_MISSING)
    from deployments.attacks.damage import READERS
    from deployments.attacks.readers_fuzz import damaged

    outcome = Outcome(seen={"readers": list(READERS), "examples of each": examples})
    for name, reader in READERS.items():
        reader.read(reader.seed)
        try:
            damaged(reader, examples)
        except BaseException as error:  # a panic of compiled code is no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            outcome.faults.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
    if importlib.util.find_spec("atheris") is None:
        outcome.seen["guided"] = "atheris is not installed"
        return outcome
    outcome.seen["guided"] = {name: _guided(name, guided_s, outcome) for name in READERS}
    return outcome


def _guided(name: str, seconds: int, outcome: Outcome) -> dict[str, int]:
    """How many inputs atheris tried, and how much of the code they reached."""
    with tempfile.TemporaryDirectory(prefix="stageline-attack-") as folder:
        command = [sys.executable, "-m", "deployments.attacks.guided", name, str(seconds), folder]
        try:
            done = subprocess.run(command, capture_output=True, timeout=seconds + _MORE_S, check=False)
        except subprocess.TimeoutExpired:
            outcome.faults.append(f"{name}: atheris did not end; an input hangs its reader")
            return {}
        told = done.stderr.decode(errors="replace")
        if done.returncode != 0:
            left = [path for path in Path(folder).iterdir() if path.is_file()]
            shown = f", input {left[0].read_bytes()[:200]!r}" if left else ""
            outcome.faults.append(f"{name}: atheris ended with {done.returncode}: {_reason(told)}{shown}")
        tried = re.findall(r"stat::number_of_executed_units:\s*(\d+)", told)
        reached = re.findall(r"cov: (\d+)", told)
        return {"inputs": int(tried[-1]) if tried else 0, "reached": int(reached[-1]) if reached else 0}


def _reason(told: str) -> str:
    """The lines that say why it ended."""
    lines = [line.strip() for line in told.splitlines()]
    telling = [line for line in lines if line.startswith(("ERROR", "==")) or "Error" in line or "Exception" in line]
    return " | ".join(telling[:4])[:400]
