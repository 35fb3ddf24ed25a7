from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from loadtest.errors import LoadTestError
from loadtest.report import write, write_report
from loadtest.report.words import short
from tests.loadtest.synthetic import make_run, mixed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("run"))
    write_report(folder)
    return folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same run again, to be changed; as if matplotlib were missing, for pictures take their time."""
    monkeypatch.setattr(write, "can_draw", lambda: False)
    copy = tmp_path / "run"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("report.*", "*.png", "result.json"))
    return copy


def test_everything_is_there(folder: Path) -> None:
    written = {"result.json", "report.md", "report.html", "distributions.png", "timeline.png"}
    assert written <= {path.name for path in folder.iterdir()}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []


def test_the_result_is_what_was_measured(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    ours = result["stageline"]
    assert ours["objective"]["kept"] is False
    assert [one["kept"] for one in ours["objective"]["promises"]] == [True, True, False, False, True]
    assert ours["overall"]["latencies"]["ttft"]["p99"]["value"] == result["p99_ttft_ms"]
    assert ours["machine"]["commit"] == "0123456789"
    assert (ours["client"]["lag_p50_ms"], ours["workers"]) == (0.7, 1)


def test_what_vllm_saves_of_each_request_is_there_where_it_is_asked_for(copy: Path) -> None:
    write_report(copy)
    assert "ttfts" not in json.loads((copy / "result.json").read_text())
    write_report(copy, detailed=True)
    result = json.loads((copy / "result.json").read_text())
    assert len(result["ttfts"]) == len(result["errors"]) == result["num_prompts"]


def test_the_report_says_what_the_result_says(folder: Path) -> None:
    overall = json.loads((folder / "result.json").read_text())["stageline"]["kinds"]["chat"]
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# step-mixed: objective not kept\n\n- TTFT p50: ")
    ttft = next(line for line in text.splitlines() if line.startswith("| TTFT |"))
    p99 = overall["latencies"]["ttft"]["p99"]
    assert ttft.split(" | ")[6] == f"{short(p99['value'])} [{short(p99['low'])}, –]"
    for words in ("TPOT, without the first token (vLLM)", "TPOT, with it (guidellm)", "A Processor avx2, 2 cores",
                  "| refused: too much load (503) | 9 | &lt;b&gt;busy&lt;/b&gt; \\| try \\`again\\` |",
                  "| int8-dynamic | 241 |", "![", "By its own account it was not the bottleneck.",
                  "27 requests before that are left out", "do not carry over to another"):  # fmt: skip
        assert words in text
    assert "bottleneck: these are not" not in text


def test_a_client_that_was_the_bottleneck_is_told_at_the_top(copy: Path) -> None:
    about = json.loads((copy / "run.json").read_text())
    about["client"]["verdict"] = "Its loop stood still for 400 ms."
    (copy / "run.json").write_text(json.dumps(about))
    write_report(copy)
    lines = (copy / "report.md").read_text(encoding="utf-8").splitlines()
    assert lines[2] == (
        "> **The client was the bottleneck: these are not the server's figures. Its loop stood still for 400 ms.**"
    )
    assert "not the bottleneck" not in "\n".join(lines)
    assert '<p class="alarm">The client was the bottleneck' in (copy / "report.html").read_text(encoding="utf-8")


def test_tokens_that_cannot_be_trusted_are_told(copy: Path) -> None:
    about = json.loads((copy / "run.json").read_text())
    about["tokens"] = {"answers": 7, "usage": 70, "tokenizer": 100, "equal": 1, "verdict": "It counts words."}
    (copy / "run.json").write_text(json.dumps(about))
    write_report(copy)
    text = (copy / "report.md").read_text(encoding="utf-8")
    assert text.split("\n\n")[1] == "> **It counts words.**"
    assert (
        "In 7 answers the server counted 70 tokens and its tokenizer 100; in 1 of them both counted the same." in text
    )
    assert json.loads((copy / "result.json").read_text())["stageline"]["tokens"] == about["tokens"]


def test_without_matplotlib_there_is_a_report_without_pictures(copy: Path) -> None:
    write_report(copy)
    assert list(copy.glob("*.png")) == []
    text = (copy / "report.md").read_text(encoding="utf-8")
    assert "Pictures need matplotlib. Install it with: pip install 'stageline[load]'" in text


def test_a_run_in_which_nothing_happened(copy: Path) -> None:
    (copy / "requests.jsonl").write_text("")
    (copy / "run.json").write_text('{"start_s": 0}')
    scenario = mixed().model_dump(mode="json") | {"objective": {}}
    (copy / "scenario.yaml").write_text(yaml.safe_dump(scenario))
    assert write_report(copy).summary.overall.sent == 0
    text = (copy / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# step-mixed: no objective\n\n> **No request was answered")
    json.loads((copy / "result.json").read_text())


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match="Give the folder of a run"):
        write_report(tmp_path)
