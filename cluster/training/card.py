"""The model card: README.md in the model's folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cluster.training.finish import About

_NAMES = {
    "bleu": "BLEU (sacrebleu, detokenized, greedy)",
    "chrf": "chrF (sacrebleu, greedy)",
    "accuracy": "accuracy",
    "rmse": "root of the mean squared error",
    "perplexity": "perplexity",
}
_SETTINGS = (
    "epochs",
    "batch",
    "unit",
    "learning_rate",
    "warmup_steps",
    "schedule",
    "weight_decay",
    "average",
    "precision",
    "smoothing",
    "dropout",
    "layers",
    "seed",
)


def model_card(
    task: str,
    about: About,
    *,
    identity: Mapping[str, Any],
    quality: Mapping[str, float],
    origin: Mapping[str, Any],
    steps: int,
) -> str:
    """Markdown with a front matter that model hubs read."""
    front = ["---", f"pipeline_tag: {_TAGS.get(task, 'text-generation')}"]
    front += [f"license: {about.licence}"] if about.licence else []
    lines = [*front, "---", "", f"# {about.title or task}", ""]
    lines += ["## Data", "", about.data or "Not told.", ""]
    digests = {name: value for name, value in identity.items() if _is_data(name) and value}
    lines += ["| file | SHA-256 |", "|---|---|", *(f"| {name} | `{value}` |" for name, value in digests.items()), ""]
    lines += ["## Quality", ""]
    if quality:
        lines += ["On the test data, with the weights as stored here, computed in fp32:", "", "| measure | value |"]
        lines += ["|---|---|", *(f"| {_NAMES.get(name, name)} | {value} |" for name, value in quality.items()), ""]
    else:
        lines += ["Not measured: no test data was given.", ""]
    lines += ["## How it was made", "", "```", about.command or "(not through the command line)", "```", ""]
    settings = {name: identity[name] for name in _SETTINGS if identity.get(name) is not None} | {"steps": steps}
    lines += ["; ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items()) + ".", ""]
    made = ", ".join(f"{name} {value}" for name, value in origin.items() if value and name not in ("machine", "hours"))
    lines += [f"{made}. {origin.get('machine')}, {origin.get('hours')} h.", ""]
    lines += ["## Limits", "", about.limits or "It was measured on the data above only.", ""]
    return "\n".join(lines)


_TAGS = {"classifier": "text-classification", "translator": "translation"}


def _is_data(name: str) -> bool:
    return name.endswith(("_data", "_source", "_target"))
