from __future__ import annotations

from pathlib import Path

from cluster.training.metrics import MetricsFile, MetricsReader, draw, read_metrics


def test_a_resumed_file_loses_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    first = MetricsFile(path, keep_bytes=0)
    first.write({"step": 1})
    kept = first.size
    first.write({"step": 2})
    first.close()
    second = MetricsFile(path, keep_bytes=kept)
    second.write({"step": 2, "again": True})
    second.close()
    assert read_metrics(path) == [{"step": 1}, {"step": 2, "again": True}]


def test_a_reader_takes_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    reader = MetricsReader(path)
    assert reader.new_lines() == []
    path.write_bytes(b'{"step": 1}\n{"st')
    assert reader.new_lines() == [{"step": 1}]
    assert reader.new_lines() == []
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n')
    assert reader.new_lines() == [{"step": 2}]
    path.write_bytes(b'{"step": 1}\n')
    assert reader.new_lines() == [{"step": 1}]
    path.write_bytes(b'{"step": 10}\n{"step": 11}\n')  # cut, and longer again before anybody looked
    assert reader.new_lines() == [{"step": 10}, {"step": 11}]


def test_the_curves_are_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path, keep_bytes=0)
    metrics.write({"step": 0, "total_steps": 4})
    for step in range(1, 5):
        metrics.write({"step": step, "loss": 1 / step, "learning_rate": 0.1})
    metrics.write({"step": 4, "valid_loss": 0.5})
    metrics.close()
    draw(path, tmp_path / "loss.png", title="tiny")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
