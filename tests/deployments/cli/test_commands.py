from __future__ import annotations

import json
import shlex
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from rich.markup import render
from typer.testing import CliRunner

from cluster.node import free_ports
from deployments.cli import app, main
from deployments.cli.control import status_table
from deployments.cli.serve import banner
from deployments.cli.state import ServerState, StateFile, registered
from deployments.settings import DEMO_CONFIG, load_settings
from tests.deployments.sources.file_server import FileServer, send, serving

REPLICA = {"id": "r1", "node": "n1", "state": "ready", "running": 3, "waiting": 2, "kv_cache_usage": 0.25}
MODELS = [
    {
        "name": "smollm2",
        "task": "text-generation",
        "variants": [
            {"name": "bf16", "state": "ready", "replicas": [REPLICA | {"tokens_per_s": 12.34}]},
            {"name": "fp32", "state": "unavailable", "replicas": []},
        ],
    }
]

run = CliRunner().invoke


def failing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and standard error of `stageline ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["stageline", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


def test_version() -> None:
    result = run(app, ["--version"])
    assert (result.exit_code, result.output.split()[0]) == (0, "stageline")


def test_the_demo_is_served_when_no_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in ("serve", "fetch", "status", "stop", "chat"):
        assert run(app, [command, "--help"]).exit_code == 0


def test_errors_are_one_line_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("models: [{name: a, source: x, kv_cash: 1}]")
    code, error = failing(monkeypatch, capsys, "serve", str(path))
    assert code == 2
    assert error == f"stageline: {path}:1: models[0].kv_cash: unknown key; did you mean 'kv_cache'?\n"


def test_what_to_take_over_must_be_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = failing(monkeypatch, capsys, "serve", "--take-over")
    assert code == 2
    assert error.startswith("stageline: --take-over replaces what a running cluster serves: name the cluster")


def test_a_missing_model_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"models: [{{name: a, source: nowhere}}]\nhttp: {{port: {free_ports(1)[0]}}}\n")
    code, error = failing(monkeypatch, capsys, "serve", str(path))
    assert code == 1
    assert "There is no model at" in error


def test_a_port_of_another_stageline_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_ports(1)[0]
    with registered("http://x", port, "c"):
        code, error = failing(monkeypatch, capsys, "serve", "--port", str(port))
    assert code == 2
    assert f"stageline stop --port {port}" in error


def test_fetch_prints_where_the_models_are(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "c.yaml").write_text("models: [{name: a, source: m}]")
    result = run(app, ["fetch", str(tmp_path / "c.yaml")])
    assert result.output == f"a\t{tmp_path / 'm'}\n"


def test_the_banner_has_a_command_that_can_be_pasted() -> None:
    text = render(banner(load_settings(DEMO_CONFIG), "http://127.0.0.1:8000")).plain
    assert "Ready at http://127.0.0.1:8000" in text
    assert "smollm2  text-generation  bf16" in text
    commands = [shlex.split(line) for line in text.splitlines() if "curl" in line]
    bodies = {
        next(part for part in command if part.startswith("http")): json.loads(command[command.index("-d") + 1])
        for command in commands
    }
    assert list(bodies) == [
        f"http://127.0.0.1:8000/{path}" for path in ("v1/chat/completions", "classify", "v1/embeddings", "translate")
    ]
    assert [body.get("model") for body in bodies.values()] == ["smollm2", "intents", "minilm", None]


def test_status_shows_models_variants_replicas_and_load() -> None:
    with serving(FileServer(pages={"/status": json.dumps({"models": MODELS}).encode()})) as server:
        port = int(server.address.rpartition(":")[2])
        with registered(server.address, port, "demo.yaml") as file:
            file.update(state="ready")
            shown = run(app, ["status"]).output
            machine = json.loads(run(app, ["status", "--json"]).output)
    assert machine["models"] == MODELS
    assert machine["state"] == "ready"
    rows = [line.split() for line in shown.splitlines()]
    assert ["smollm2", "bf16", "ready", "r1", "3", "2", "25%", "12.3"] in rows
    assert ["smollm2", "fp32", "unavailable"] in rows


def test_status_of_a_server_that_is_starting_does_not_ask_it() -> None:
    with registered("http://127.0.0.1:1", 1, "demo.yaml"):
        assert "starting" in run(app, ["status"]).output


def test_the_table_fits_a_narrow_terminal() -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(status_table(MODELS))
    assert "…" not in captured.get()


def test_no_server_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("status", "stop"):
        code, error = failing(monkeypatch, capsys, command)
        assert code == 2
        assert "No server runs here" in error


class ChatServer:
    """Answers each request with the pieces given; remembers the bodies."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, object]] = []
        self.server = FileServer(pages={"/v1/models": b'{"data": [{"id": "tiny"}]}'})

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.bodies.append(json.loads(handler.rfile.read(int(handler.headers["Content-Length"]))))
        pieces = self.answers.pop(0)
        if pieces == ["refused"]:
            body = b'{"error": {"message": "too long"}}'
            handler.send_response(400)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
            return
        chunks = [json.dumps({"choices": [{"delta": {"content": piece}}]}) for piece in pieces]
        send(handler, "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"]).encode())


def chat(chat_server: ChatServer, text: str, *options: str) -> str:
    with serving(chat_server.server) as server:
        server.post = chat_server.answer
        result = run(app, ["chat", "--url", server.address, *options], input=text)
    assert result.exit_code == 0, result.output
    return result.stdout


def messages(chat_server: ChatServer, index: int) -> list[tuple[str, str]]:
    found = chat_server.bodies[index]["messages"]
    assert isinstance(found, list)
    return [(message["role"], message["content"]) for message in found]


def test_chat_streams_and_remembers() -> None:
    server = ChatServer(["Hel", "lo"], ["Fine"])
    out = chat(server, "Hi\nHow are you?\n/exit\n", "--max-tokens", "7")
    assert out == "Hello\nFine\n"
    assert server.bodies[0] | {"messages": None} == {
        "model": "tiny",
        "stream": True,
        "max_tokens": 7,
        "messages": None,
    }
    assert messages(server, 1) == [("user", "Hi"), ("assistant", "Hello"), ("user", "How are you?")]


def test_chat_forgets_when_asked_but_not_its_instructions() -> None:
    server = ChatServer(["A"], ["B"])
    chat(server, "one\n/clear\ntwo\n", "--system", "Be brief.")
    assert messages(server, 1) == [("system", "Be brief."), ("user", "two")]


def test_chat_goes_on_after_a_refused_message() -> None:
    server = ChatServer(["refused"], ["B"])
    assert chat(server, "far too long\nshort\n").endswith("B\n")
    assert messages(server, 1) == [("user", "short")]


def test_chat_without_a_server_says_how_to_start_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = failing(monkeypatch, capsys, "chat", "--url", f"http://127.0.0.1:{free_ports(1)[0]}")
    assert code == 1
    assert "Start one with: stageline serve" in error


def test_stop_ends_the_server_and_waits_for_it(tmp_path: Path) -> None:
    """Its parent (this test) does not collect it: what has ended counts as ended nevertheless."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    created = psutil.Process(process.pid).create_time()
    StateFile(ServerState(process.pid, created, "http://x", 1, "c")).update()
    assert run(app, ["stop"]).output == "Stopped http://x.\n"
    assert process.wait() == -15


def test_a_server_that_does_not_end_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        StateFile(ServerState(process.pid, psutil.Process(process.pid).create_time(), "http://x", 1, "c")).update()
        code, error = failing(monkeypatch, capsys, "stop", "--timeout", "0.2")
        assert (code, "has not ended" in error) == (1, True)
    finally:
        process.kill()
        process.wait()
