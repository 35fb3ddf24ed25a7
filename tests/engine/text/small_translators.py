"""Folders of small translation models: tokenizers trained on a little text, and no weights to speak of."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sentencepiece import SentencePieceTrainer

from tests.engine.tiny_seq2seq import FAMILIES

ENGLISH = [
    "A man in an orange hat starring at something.",
    "A Boston Terrier is running on lush green grass in front of a white fence.",
    "A girl in karate uniform breaking a stick with a front kick.",
    "Five people wearing winter jackets and helmets stand in the snow, with snowmobiles in the background.",
    "People are fixing the roof of a house, and the dog barks at them!",
    "Is a man in light-colored clothing photographing a group of men?",
]
GERMAN = [
    "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt.",
    "Ein Boston Terrier läuft über saftig-grünes Gras vor einem weißen Zaun.",
    "Ein Mädchen in einem Karateanzug bricht einen Stock mit einem Tritt.",
    "Fünf Leute in Winterjacken und mit Helmen stehen im Schnee mit Schneemobilen im Hintergrund.",
    "Leute reparieren das Dach eines Hauses, und der Hund bellt sie an!",
    "Fotografiert ein Mann in heller Kleidung eine Gruppe von Männern?",
]
STRANGE = [
    "",
    " ",
    "  two  spaces ",
    "ſtrange ½ Å ﬁ \u00a0x",
    "日本語",
    ">>fr<",
    "tab\tand\nline",
    "a▁b",
    "😀 ok",
]


def train_pieces(lines: list[str], size: int, **options: Any) -> bytes:
    """A SentencePiece model."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 3),
        model_writer=model,
        vocab_size=size,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


def write_model(folder: Path, family: str, **changes: Any) -> None:
    """config.json and a weights file, so that the folder opens as a checkpoint."""
    kind, config = FAMILIES[family]
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": kind, **config, **changes}))
    save_file({"nothing": torch.zeros(1)}, folder / "model.safetensors")


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def write_marian(folder: Path, marks: tuple[str, ...] = (), **settings: Any) -> None:
    """With `separate_vocabs` among the settings, two vocabularies."""
    from sentencepiece import SentencePieceProcessor

    write_model(folder, "marian")
    sides = {"source": train_pieces(ENGLISH, 150), "target": train_pieces(GERMAN, 160)}
    pieces: dict[str, list[str]] = {}
    for side, model in sides.items():
        (folder / f"{side}.spm").write_bytes(model)
        processor = SentencePieceProcessor(model_proto=model)
        pieces[side] = [processor.id_to_piece(i) for i in range(3, processor.get_piece_size())]

    def vocabulary(*parts: list[str]) -> dict[str, int]:
        every = dict.fromkeys(("</s>", "<unk>", *(p for part in parts for p in part), *marks, "<pad>"))
        return {piece: i for i, piece in enumerate(every)}

    if settings.get("separate_vocabs"):
        write_json(folder / "vocab.json", vocabulary(pieces["source"]))
        write_json(folder / "target_vocab.json", vocabulary(pieces["target"]))
    else:
        write_json(folder / "vocab.json", vocabulary(pieces["source"], pieces["target"]))
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "MarianTokenizer", **settings})
