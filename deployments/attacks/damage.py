"""Sound files, damaged: what fuzzing starts from, and what it calls."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deployments.attacks import hostile_gguf
from deployments.attacks.hostile_safetensors import read_all, tensor
from deployments.attacks.small_folder import CONFIG, TOKENIZER, load_all, sound_folder
from engine.checkpoint.gguf import GGUFCheckpoint
from engine.errors import StagelineError
from engine.text.sentencepiece_files import load_pieces


@dataclass(frozen=True, slots=True)
class Reader:
    """`seed` is a sound file; `read` takes a file's bytes, and may raise nothing but one of our own errors."""

    seed: bytes
    read: Callable[[bytes], None]


def safetensors_seed() -> bytes:
    header = json.dumps({"a": tensor(), "b": tensor("I8", [4], [16, 20])}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(20)


def gguf_seed() -> bytes:
    words = b"".join(hostile_gguf.text(word) for word in ("<s>", "a", "b"))
    keys = [
        *hostile_gguf.SHAPE,
        hostile_gguf.key("tokenizer.ggml.model", hostile_gguf.STRING, hostile_gguf.text("llama")),
        hostile_gguf.key(
            "tokenizer.ggml.tokens", hostile_gguf.ARRAY, hostile_gguf.array(hostile_gguf.STRING, 3, words)
        ),
    ]
    head = hostile_gguf.head(keys, [hostile_gguf.entry("token_embd.weight", [32, 3])])
    return head + bytes(1024)


def _with_file(name: str, use: Callable[[Path], None]) -> Callable[[bytes], None]:
    """Reads the bytes as a file of that name."""

    def read(data: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="stageline-attack-") as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            _ours(lambda: use(path))

    return read


def _ours(use: Callable[[], None]) -> None:
    """Our own errors are what damaged files are for."""
    try:
        use()
    except StagelineError:
        return


def _gguf(path: Path) -> None:
    with GGUFCheckpoint(path) as checkpoint:
        checkpoint.tokenizer().encode("a b")


def _in_folder(name: str) -> Callable[[bytes], None]:
    """Reads the bytes as one file of a folder that is sound otherwise."""

    def read(data: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="stageline-attack-") as folder:
            sound = sound_folder(Path(folder))
            (sound / name).write_bytes(data)
            _ours(lambda: load_all(sound))

    return read


def _pieces(path: Path) -> None:
    load_pieces(path).encode("a b")


READERS = {
    "safetensors": Reader(safetensors_seed(), _with_file("model.safetensors", read_all)),
    "gguf": Reader(gguf_seed(), _with_file("model.gguf", _gguf)),
    "config.json": Reader(json.dumps(CONFIG).encode(), _in_folder("config.json")),
    "tokenizer.json": Reader(json.dumps(TOKENIZER).encode(), _in_folder("tokenizer.json")),
    # One piece, "<unk>" of the kind UNKNOWN; a vocabulary of its own comes of the fuzzing.
    "sentencepiece": Reader(b"\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02", _with_file("spiece.model", _pieces)),
}
