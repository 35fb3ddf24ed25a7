from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.deployments.sources.file_server import FileServer, serving

REPO = "org/tiny"
COMMIT = "c" * 40


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(FileServer()) as running:
        yield running


@dataclass
class Hub:
    """A hub with one repository on a `FileServer`."""

    server: FileServer
    files: dict[str, bytes]

    def publish(self, *, revision: str = "main", **overrides: dict[str, object]) -> None:
        """List and serve `files`; `overrides` replace fields of the listing, by file name with _ for "."."""
        siblings = []
        for name, body in self.files.items():
            sibling: dict[str, object] = {"rfilename": name, "size": len(body)}
            if name.endswith((".safetensors", ".gguf", ".bin")):
                sibling["lfs"] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}
            else:
                sibling["blobId"] = hashlib.sha1(f"blob {len(body)}\0".encode() + body).hexdigest()
            siblings.append(sibling | overrides.get(name.replace(".", "_"), {}))
            self.server.pages[f"/{REPO}/resolve/{COMMIT}/{name}"] = body
        listing = json.dumps({"sha": COMMIT, "siblings": siblings}).encode()
        self.server.pages[f"/api/models/{REPO}/revision/{revision}"] = listing


@pytest.fixture
def hub(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    hub = Hub(
        server,
        {
            "config.json": b'{"model_type": "llama"}',
            "tokenizer.json": b"{}",
            "model.safetensors": bytes(range(256)) * 4000,
            "pytorch_model.bin": b"a pickle",
            "README.md": b"hello",
            "onnx/model.safetensors": b"of another kind",
            "model.Q4.gguf": b"GGUF" + b"x" * 5000,
        },
    )
    hub.publish()
    return hub
