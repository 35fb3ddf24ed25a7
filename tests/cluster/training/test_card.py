from __future__ import annotations

import yaml

from cluster.training.card import model_card
from cluster.training.finish import About
from cluster.training.origin import origin

IDENTITY = {"epochs": 3, "seed": 7, "learning_rate": 0.01, "train_source": "ab" * 32, "valid_data": None, "base": "cd"}
ABOUT = About(
    "stageline finetune translator --out x", "A title", "Multi30k, for research use", "other", "Captions only."
)


def test_the_card_tells_data_command_seed_quality_commit_and_limits() -> None:
    made = {"commit": "0123abc", "torch": "2.0", "machine": "some CPU", "hours": 1.5}
    card = model_card("translator", ABOUT, identity=IDENTITY, quality={"bleu": 38.8}, origin=made, steps=99)
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front) == {"pipeline_tag": "translation", "license": "other"}
    for told in ("# A title", "Multi30k", "ab" * 32, "| 38.8 |", ABOUT.command, "seed 7", "steps 99", "commit 0123abc"):
        assert told in text
    assert "some CPU, 1.5 h" in text
    assert text.rstrip().endswith("Captions only.")
    assert "valid_data" not in text


def test_a_card_without_figures_says_so() -> None:
    card = model_card("generator", About(), identity=IDENTITY, quality={}, origin={}, steps=1)
    assert "Not measured" in card


def test_the_origin_names_versions_and_no_machine() -> None:
    import platform

    import torch

    made = origin()
    assert made["torch"] == torch.__version__
    assert platform.node() not in made["machine"]
