"""Reading a model must not keep a second copy of it in memory."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.checkpoint import open_checkpoint


def file_backed_memory() -> int:
    """Bytes of mapped files that are resident in this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssFile:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no RssFile")


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc, which only Linux has")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pages_are_dropped(tmp_path: Path, dtype: torch.dtype) -> None:
    size = 48 << 20
    save_file({str(i): torch.full((size // 16,), float(i)) for i in range(4)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({}))
    with open_checkpoint(tmp_path) as checkpoint:
        before = file_backed_memory()
        for name in sorted(checkpoint.names()):
            assert checkpoint.tensor(name, dtype)[-1] == float(name)
        assert file_backed_memory() - before < size // 8
