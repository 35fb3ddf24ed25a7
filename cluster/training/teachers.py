"""Distillation: what a bigger model says of the training data, computed once and kept beside the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from cluster.training.batches import in_order
from cluster.training.folders import attention, folder_digest, require_model_folder
from cluster.training.padding import padded
from cluster.training.translating import set_languages, translate_all
from engine.errors import ConfigError
from engine.text.json_files import read_json_object


@dataclass(frozen=True, slots=True)
class Teacher:
    """`share` of the loss comes from the teacher, the rest from the labels; `beams` are for translation."""

    folder: Path
    share: float = 0.5
    temperature: float = 2.0
    beams: int = 4

    def check(self, labels: Sequence[str] | None = None) -> None:
        """Raise `ConfigError` for a folder that cannot teach this."""
        require_model_folder(self.folder)
        if not 0 < self.share <= 1:
            raise ConfigError(f"The teacher's share is over 0 and at most 1, not {self.share}.", param="teacher_share")
        if self.temperature <= 0 or self.beams < 1:
            raise ConfigError("The teacher's temperature must be over 0, its beams 1 or more.", param="teacher")
        if labels is None:
            return
        known = read_json_object(self.folder / "config.json").get("id2label") or {}
        theirs = [known[key] for key in sorted(known, key=int)]
        if theirs != list(labels):
            raise ConfigError(
                f"The teacher in {self.folder} knows {len(theirs)} labels, the training data has {len(labels)}, and "
                "they must be the same ones in the same order. Train the teacher on the same labels.",
                param="teacher",
            )

    def identity(self) -> dict[str, Any]:
        return {
            "folder": folder_digest(self.folder),
            "share": self.share,
            "temperature": self.temperature,
            "beams": self.beams,
        }


def teacher_logits(
    teacher: Teacher, texts: Sequence[str], kept: Path, device: torch.device, *, longest: int
) -> torch.Tensor:
    """(texts, labels): the teacher's logits, from the file in `kept` if it is there."""
    file = kept / "teacher-logits.safetensors"
    if file.exists():
        return load_file(file)["logits"]
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(teacher.folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        teacher.folder, dtype=torch.float32, attn_implementation=attention()
    )
    model.to(device).eval()
    encoded = tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]
    rows: list[torch.Tensor] = [torch.empty(0)] * len(texts)
    with torch.no_grad():
        for group in in_order([len(row) for row in encoded], 64, "examples"):
            inputs = padded([encoded[index] for index in group], int(tokenizer.pad_token_id)).to(device)
            mask = padded([[1] * len(encoded[index]) for index in group], 0).to(device)
            logits = model(input_ids=inputs, attention_mask=mask).logits.float().cpu()
            for index, row in zip(group, logits, strict=True):
                rows[index] = row
    kept.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".writing")
    save_file({"logits": torch.stack(rows)}, temporary)
    temporary.rename(file)
    return torch.stack(rows)


def teacher_translations(
    teacher: Teacher, sources: Sequence[str], kept: Path, device: torch.device, languages: tuple[str, str]
) -> list[str]:
    """The teacher's translations, one for each source. Groups are written as they come; a killed run goes on there."""
    file = kept / "teacher-translations.jsonl"
    found = _read_translations(file)
    missing = [index for index in range(len(sources)) if index not in found]
    if missing:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(teacher.folder)
        set_languages(tokenizer, languages)
        model = AutoModelForSeq2SeqLM.from_pretrained(teacher.folder, dtype=torch.float32)
        model.to(device).eval()
        kept.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as out, torch.no_grad():

            def keep(group: list[int], texts: list[str]) -> None:
                for index, text in zip(group, texts, strict=True):
                    found[missing[index]] = text
                    out.write(json.dumps([missing[index], text], ensure_ascii=False) + "\n")
                out.flush()

            chosen = [sources[index] for index in missing]
            translate_all(model, tokenizer, chosen, device=device, beams=teacher.beams, done=keep)
    return [found[index] for index in range(len(sources))]


def _read_translations(file: Path) -> dict[int, str]:
    """What is complete; a line that a kill cut short is cut off."""
    if not file.exists():
        return {}
    data = file.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with file.open("r+b") as out:
            out.truncate(len(whole))
    return dict(json.loads(line) for line in whole.split(b"\n") if line)
