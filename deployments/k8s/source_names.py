"""Names out of source code, read without running it: metrics, routes, environment variables."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_OURS = re.compile(r"(vllm|stageline):[a-z0-9_]+")
_VARIABLE = re.compile(r"\bSTAGELINE_[A-Z_]+\b")
_METHODS = {"get", "post", "put", "delete"}
# What Prometheus sees of a metric, by what makes it.
_SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}


def metric_names(package: Path) -> Iterator[str]:
    """Of all metrics that the code under `package` defines, as they are scraped."""
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "vllm:" in text or "stageline:" in text:
            for kind, name in _metrics(ast.parse(text)):
                base = name.removesuffix("_total") if kind == "counter" else name
                yield from (f"{base}{suffix}" for suffix in _SUFFIXES[kind])


def _metrics(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(kind, name) of what is defined: `Counter("vllm:x", ...)`, `counters={"vllm:x": ...}`, a function that returns
    such a dictionary, and `counter("x", ...)` inside of which `vllm:` is put before."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _call(node)
        elif isinstance(node, ast.FunctionDef):
            for kind in _SUFFIXES:
                if node.name.endswith(f"{kind}s"):
                    yield from _keys(kind, [one.value for one in ast.walk(node) if isinstance(one, ast.Return)])


def _call(node: ast.Call) -> Iterator[tuple[str, str]]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    kind = name.removesuffix("MetricFamily").lower()
    first = node.args[0] if node.args else None
    if kind in _SUFFIXES and isinstance(first, ast.Constant) and isinstance(first.value, str):
        if _OURS.fullmatch(first.value):
            yield kind, first.value
        elif name in _SUFFIXES:  # lower case: the function that puts the prefix before
            yield kind, f"vllm:{first.value}"
    for keyword in node.keywords:
        kind = (keyword.arg or "").removesuffix("s")
        if kind in _SUFFIXES:
            yield from _keys(kind, [keyword.value])


def _keys(kind: str, values: Iterable[ast.expr | None]) -> Iterator[tuple[str, str]]:
    for value in values:
        for node in ast.walk(value) if value is not None else ():
            if isinstance(node, ast.Dict):
                for key in node.keys:
                    if isinstance(key, ast.Constant) and _OURS.fullmatch(str(key.value)):
                        yield kind, str(key.value)


def route_paths(folder: Path) -> Iterator[str]:
    """Paths that the front door answers: `@routes.get("/health")`."""
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in _METHODS
                and node.args
                and isinstance(node.args[0], ast.Constant)
                and str(node.args[0].value).startswith("/")
            ):
                yield str(node.args[0].value)


def variable_names(folders: Iterable[Path]) -> Iterator[str]:
    """`STAGELINE_...`, wherever they are named."""
    for folder in folders:
        for path in folder.rglob("*.py"):
            yield from _VARIABLE.findall(path.read_text(encoding="utf-8"))
