from __future__ import annotations

import json
from pathlib import Path

from loadtest.plan import Done, End
from loadtest.record import Record, write_records
from loadtest.run_files import finish_run, server_facts
from tests.deployments.sources.file_server import FileServer, serving
from tests.loadtest.conftest import Timed
from tests.loadtest.synthetic import mixed


def answered(**more: object) -> Record:
    record = Record(0, "chat", "m", 0.0, 0.0, first_s=0.1, last_s=0.2, end_s=0.2, gaps_s=[0.1], status=200, text="a b")
    for name, value in more.items():
        setattr(record, name, value)
    return record


def tokens_of(server: str, folder: Path, *records: Record) -> dict[str, object]:
    write_records(folder / "requests.jsonl", records)
    end = End(0.0, 1, [Done(0.0, len(records))])
    assert finish_run(folder, mixed(), server, end, report=False) is None
    return dict(json.loads((folder / "run.json").read_text())["tokens"])


def test_answers_without_usage_are_told_also_where_there_is_no_tokenizer(timed_server: Timed, tmp_path: Path) -> None:
    told = tokens_of(timed_server.url + "/nothing-here", tmp_path, answered(), answered(number=1, output_tokens=2))
    assert str(told["verdict"]).startswith("1 of 2 complete answers came without `usage`")
    assert told.keys() == {"verdict"}


def test_both_counts_are_told(timed_server: Timed, tmp_path: Path) -> None:
    told = tokens_of(timed_server.url, tmp_path, answered(output_tokens=7, exact_tokens=8))
    assert (told["answers"], told["usage"], told["tokenizer"]) == (1, 7, 2)
    assert "another number of tokens" in str(told["verdict"])
    assert "its tokenizer counts 2" in str(told["verdict"])


def test_a_server_with_a_key_tells_who_has_it() -> None:
    pages = {"/version": b'{"version": "7"}', "/v1/models": b'{"data": [{"id": "m"}]}'}
    with serving(FileServer(pages=pages)) as server:
        assert server_facts(server.address, "secret") == {"version": "7", "models": ["m"]}
        assert {one.authorization for one in server.asked} == {"Bearer secret"}
