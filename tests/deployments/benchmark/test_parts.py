from __future__ import annotations

import gzip
import json
from pathlib import Path

from deployments.benchmark.parts import LARGE, keep, pack, page
from tests.deployments.benchmark.test_nodes import RESULT, streamed


def test_a_kept_result_makes_its_table_again(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    keep(folder, RESULT, {"2-stages-1": [streamed(0, 1.0)]})
    assert json.loads((folder / "result.json").read_text()) == RESULT
    assert (folder / "table.md").read_text() == page(folder)
    assert "2 stages" in page(folder)
    (kept,) = gzip.decompress((folder / "2-stages-1.jsonl.gz").read_bytes()).splitlines()
    assert json.loads(kept)["output_tokens"] == 5


def test_what_is_large_is_compressed_and_the_rest_stays(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text("x" * (LARGE + 1))
    (tmp_path / "server.jsonl").write_text("y")
    (tmp_path / "locust.log").write_text("z")
    pack(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"requests.jsonl.gz", "server.jsonl"}
    assert gzip.decompress((tmp_path / "requests.jsonl.gz").read_bytes()) == b"x" * (LARGE + 1)
