"""Imports run one way: engine <- cluster <- deployments -> loadtest, which knows none of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"engine", "cluster", "deployments", "loadtest"}
FORBIDDEN = {
    "engine": {"cluster", "deployments", "loadtest", "ray", "fastapi", "starlette", "uvicorn", "httpx", "pydantic"},
    "cluster": {"deployments", "loadtest", "fastapi", "starlette", "uvicorn"},
    "deployments": {"locust", "gevent"},
    "loadtest": {"engine", "cluster", "deployments", "ray"},
}


def imported(source: str) -> set[str]:
    """Top-level packages (and `ray.serve`) that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[0] for name in names}
        found |= {"ray.serve" for name in names if name == "ray.serve" or name.startswith("ray.serve.")}
    return found


@pytest.mark.parametrize("package", sorted(OURS))
def test_imports_run_one_way(package: str) -> None:
    forbidden = FORBIDDEN[package] | ({"ray.serve"} if package != "deployments" else set())
    wrong = {
        str(path.relative_to(ROOT)): sorted(imported(path.read_text(encoding="utf-8")) & forbidden)
        for path in (ROOT / package).rglob("*.py")
    }
    assert {path: names for path, names in wrong.items() if names} == {}


def test_no_relative_imports() -> None:
    """They would hide from the test above."""
    for package in OURS:
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level], path


def test_the_test_sees_every_way_to_import() -> None:
    source = "import ray\ndef f():\n    from ray import serve\n    import deployments.settings as s\n"
    assert imported(source) == {"ray", "ray.serve", "deployments"}
