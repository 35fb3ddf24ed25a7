from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.benchmark.peers_http import (
    Peer,
    commanded_peer,
    filled,
    known_peers,
    named_peer,
    refuse_names,
    started,
)
from deployments.benchmark.works import SCENARIOS
from engine.errors import ConfigError, EngineFailed
from loadtest.scenario import load_scenario

SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"data": [{"id": "its-name"}] if self.path == "/v1/models" else []}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_peer_is_started_asked_for_its_model_and_ended(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    peer = commanded_peer(f"mine={sys.executable} {script} {{port}}")
    scenario = load_scenario(SCENARIOS / "generation.yaml")
    with started(peer, tmp_path / "model.gguf", 1) as ready:
        (asked,) = ready.change(scenario).requests
        assert (asked.model, asked.body) == ("its-name", {})
        by_url = named_peer(f"found={ready.url}/v1")
        with started(by_url, tmp_path / "model.gguf", 1) as found:
            assert found.url == ready.url
        with started(replace(by_url, exact="min_tokens", body={"repeat_penalty": 1.0}), tmp_path, 1) as found:
            assert found.change(scenario).requests[0].body == {"repeat_penalty": 1.0, "min_tokens": 64}
    with pytest.raises(EngineFailed, match="found does not list its models"), started(by_url, tmp_path, 1):
        pass


def test_a_peer_that_ends_says_why(tmp_path: Path) -> None:
    peer = Peer("broken", (sys.executable, "-c", "raise SystemExit('no such model')"))
    with pytest.raises(EngineFailed, match="broken did not start: no such model"), started(peer, tmp_path, 1):
        pass


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    peer = Peer("absent", (str(tmp_path / "nothing"),))
    with pytest.raises(EngineFailed, match="absent cannot be started"), started(peer, tmp_path, 1):
        pass


def test_commands_are_filled_and_other_braces_stay() -> None:
    values = {"model": "/a b/m.gguf", "port": 80, "host": "h", "threads": 2}
    assert filled(("x", "{model}", "--port={port}", json.dumps({"a": {}})), values) == [
        "x",
        "/a b/m.gguf",
        "--port=80",
        '{"a": {}}',
    ]


def test_known_peers_are_those_of_the_environment(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    with pytest.raises(ConfigError, match="neither"):
        known_peers(python)
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    (packages / "llama_cpp").mkdir(parents=True)
    (packages / "llama_cpp_python-0.3.16.dist-info").mkdir()
    (python.parent / "vllm").touch()
    llama, vllm = known_peers(python)
    command = (str(python), "-m", "llama_cpp.server")
    assert (llama.name, llama.command[:3], llama.at_once) == ("llama-cpp-python", command, 1)
    assert (llama.version, llama.exact) == ("0.3.16", "min_tokens")
    about = llama.about()
    assert about["command"].startswith("python -m llama_cpp.server --model '{model}'")
    assert "one request at a time" in about["title"]
    assert (vllm.name, vllm.command[:3], vllm.at_once) == (
        "vLLM",
        (str(python.parent / "vllm"), "serve", "{model}"),
        None,
    )


@pytest.mark.parametrize("given", ["http://127.0.0.1:1", "=http://x", "name=", "name=x"])
def test_a_url_needs_a_name(given: str) -> None:
    with pytest.raises(ConfigError, match="--peer"):
        named_peer(given)


@pytest.mark.parametrize(
    ("names", "words"),
    [(["a", "a"], "Two servers"), (["optimized"], "Two servers"), (["baseline"], "Two servers"), (["a/b"], "letters")],
)
def test_names_are_files_and_no_others(names: list[str], words: str) -> None:
    refuse_names([Peer("vLLM"), Peer("a.b-c_1")])
    with pytest.raises(ConfigError, match=words):
        refuse_names([Peer(name) for name in names])


def test_a_command_needs_a_place_for_the_port() -> None:
    with pytest.raises(ConfigError, match="port"):
        commanded_peer("name=serve --port 8000")
