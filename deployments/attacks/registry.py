"""The attacks, in the order in which they are made. What needs no server comes first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from deployments.attacks import openapi_fuzz
from deployments.attacks.fuzz import attack_readers, attack_texts
from deployments.attacks.outcome import Outcome
from deployments.attacks.scene import Scene
from deployments.attacks.traps import walk_through
from deployments.attacks.under_watch import Attack, under_watch


@dataclass(frozen=True, slots=True)
class Listed:
    """`needs_server` tells which of the two is called."""

    name: str
    does: str
    expects: str
    alone: Callable[[], Outcome] | None = None
    at_server: Callable[[Scene], Outcome] | None = None

    @property
    def needs_server(self) -> bool:
        return self.at_server is not None


def _traps(group: str, does: str, expects: str) -> Listed:
    return Listed(group, does, expects, alone=lambda: walk_through(group))


def _watched(name: str, module: str, does: str, expects: str, function: str = "attack", *, works: bool) -> Listed:
    def run(scene: Scene) -> Outcome:
        attack = cast(Attack, getattr(import_module(f"deployments.attacks.{module}"), function))
        return under_watch(attack, scene, works=works)

    return Listed(name, does, expects, at_server=run)


_CHECKPOINT = "a CheckpointError in seconds, with little memory"

ATTACKS = (
    Listed(
        "texts",
        "Fuzzing of tokenizer, stop strings, streams, events, schemas and markup.",
        "what goes in comes out, however it is cut",
        alone=attack_texts,
    ),
    Listed(
        "readers",
        "Fuzzing of the checkpoint readers, led by their code where atheris is installed.",
        "a CheckpointError, never a crash or a hang",
        alone=attack_readers,
    ),
    _traps("safetensors", "Weights whose headers lie: sizes, offsets, types, nesting.", _CHECKPOINT),
    _traps("gguf", "GGUF files whose heads claim what is not there, or far too much.", _CHECKPOINT),
    _traps("folders", "Names that lead elsewhere, pipes, devices, holes, pickles, absurd settings.", _CHECKPOINT),
    _traps("wheels", "Members that leave their folder, bombs, lies about sizes.", "a SourceError, nothing outside"),
    _traps("templates", "Chat templates that break out, run for ever or eat memory.", "an InvalidRequest in seconds"),
    Listed(
        "api",
        "Requests made from the description of the API, right ones and wrong ones (schemathesis).",
        "no 5xx, and every answer as described",
        at_server=openapi_fuzz.attack,
    ),
    _watched(
        "limits",
        "limits",
        "The longest prompts, the most answers, grammars and expressions without end.",
        "answered or a 4xx, in time",
        works=True,
    ),
    _watched(
        "bodies",
        "hostile_bodies",
        "Compressed bombs, nests, giants, broken text, wrong types.",
        "a 4xx each, soon",
        works=False,
    ),
    _watched(
        "framing",
        "hostile_framing",
        "Requests wrong as HTTP: two lengths, endless heads, pipelines, methods.",
        "refused or one answer each, and the next caller gets his own",
        works=False,
    ),
    _watched(
        "slow clients",
        "slow_clients",
        "Heads and bodies that come a byte at a time.",
        "ended by the server, honest callers notice nothing",
        works=False,
    ),
    _watched(
        "deaf readers",
        "slow_clients",
        "Streams that nobody reads, then read after all or left.",
        "bounded memory, whole streams",
        "attack_streams",
        works=True,
    ),
    _watched(
        "idle connections",
        "idle_connections",
        "10,000 connections that say nothing.",
        "honest callers notice nothing",
        works=False,
    ),
    _watched(
        "cancelled streams",
        "cancelled_streams",
        "Callers of all tasks who leave at any moment.",
        "no request and no block of the cache is left over",
        works=True,
    ),
)


def chosen(names: list[str]) -> list[Listed]:
    """Those of these names, all for none. Raises KeyError with the first that there is not."""
    known = {attack.name: attack for attack in ATTACKS}
    return [known[name] for name in names] if names else list(ATTACKS)
