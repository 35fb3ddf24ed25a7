"""The tokenizer files of a Hugging Face folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from engine.errors import CheckpointError
from engine.text.json_files import json_of, read_json_object, read_text
from engine.text.tokenizer import Tokenizer

_PROBE = "A few words, 123 \u00e9\u4e2d\U0001f600.\n"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


def load_tokenizer(folder: Path, config: Mapping[str, Any], generation_config: Mapping[str, Any]) -> Tokenizer:
    """Build the tokenizer from tokenizer.json, tokenizer_config.json and chat_template.jinja in `folder`.

    A generated text ends at the tokens that generation_config.json (or else config.json) names, and at the
    tokenizer's own end token. Raises `CheckpointError` if tokenizer.json is missing or any file is damaged.
    """
    path = folder / "tokenizer.json"
    if not path.exists():
        raise CheckpointError(
            f"{folder} has no tokenizer.json. Fetch it, or make it with transformers' "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)."
        )
    text = read_text(path)
    json_of(path, text)
    try:
        backend = Backend.from_str(text)
        backend.encode(_PROBE)  # some faults come to light only here, and would do so at every request
    except Exception as error:  # the library raises nothing more particular
        raise CheckpointError(f"{path} holds no usable tokenizer: {error}.") from None

    settings = _settings(folder)
    special = {name: found for name in _SPECIAL if (found := _token_text(settings.get(name))) is not None}
    bos = backend.token_to_id(special["bos_token"]) if "bos_token" in special else config.get("bos_token_id")
    eos = _ids(generation_config.get("eos_token_id", config.get("eos_token_id")), folder)
    own_eos = backend.token_to_id(special["eos_token"]) if "eos_token" in special else None
    return Tokenizer(
        backend,
        eos_token_ids=dict.fromkeys(eos if own_eos is None else [*eos, own_eos]),
        bos_token_id=bos if isinstance(bos, int) else None,
        chat_template=_chat_template(folder, settings),
        special_tokens=special,
    )


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes the files that `load_tokenizer` reads. The tokens that end a text belong into generation_config.json."""
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    settings = dict(tokenizer.special_tokens)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    if tokenizer.chat_template is not None:
        (folder / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")


def _settings(folder: Path) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):  # the second one wins
        if (folder / name).exists():
            merged |= read_json_object(folder / name)
    return merged


def _token_text(value: Any) -> str | None:
    """A special token is given as its text or as an object with its text."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _ids(value: Any, folder: Path) -> list[int]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(item) is int for item in values):
        raise CheckpointError(f"{folder}: eos_token_id is {value!r}, neither a token id nor a list of them.")
    return values


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    if (folder / "chat_template.jinja").exists():
        return read_text(folder / "chat_template.jinja")
    template = settings.get("chat_template")
    if isinstance(template, list):  # several with names
        named = {
            item["name"]: item["template"]
            for item in template
            if isinstance(item, Mapping) and {"name", "template"} <= set(item)
        }
        template = named.get("default", next(iter(named.values()), None))
    if template is not None and not isinstance(template, str):
        raise CheckpointError(f"{folder / 'tokenizer_config.json'}: chat_template is neither a text nor named texts.")
    return template
