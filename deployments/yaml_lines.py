"""A YAML document together with the line of every key, so that a complaint can say where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from engine.errors import ConfigError

KeyPath = tuple[str | int, ...]


class Unreadable(ConfigError):
    """The file is not there or cannot be read, which may be another thing in a moment."""


class YamlDocument:
    """`data` as plain Python values; `line_of(path)` counts from 1."""

    def __init__(self, path: Path) -> None:
        """Read one file. Raises `ConfigError` when it is not there, not UTF-8, not YAML, or has a key twice."""
        self.path = path
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise Unreadable(f"{path}: there is no such file.") from None
        except OSError as error:
            raise Unreadable(f"{path}: cannot be read: {error}.") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: cannot be read: {error}.") from error
        self._lines: dict[KeyPath, int] = {}
        try:
            self.data: Any = self._parse(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{path}:{mark.line + 1}" if mark else str(path)
            raise ConfigError(f"{where}: not valid YAML: {error.problem or error.context}.") from error
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"{path}: not valid YAML: {error}.") from error
        except RecursionError:
            raise ConfigError(f"{path}: nested too deeply.") from None

    def _parse(self, text: str) -> Any:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            self._lines.update(_key_lines(node, (), self.path, frozenset()))
            return loader.construct_document(node)
        finally:
            loader.dispose()

    def line_of(self, key_path: KeyPath) -> int:
        """Line of a key, or of the nearest key above it that is in the file."""
        for length in range(len(key_path), 0, -1):
            if (line := self._lines.get(key_path[:length])) is not None:
                return line
        return 1


def _key_lines(node: yaml.Node, at: KeyPath, path: Path, above: frozenset[int]) -> Iterator[tuple[KeyPath, int]]:
    """(path, line) of every key and list item below `node`. `above` are the nodes on the way, to end on a cycle."""
    if id(node) in above:
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: an alias refers to something that contains it.")
    above |= {id(node)}
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            line = key.start_mark.line + 1
            if name in seen and name != "<<":
                raise ConfigError(f"{path}:{line}: {show((*at, name))} is there twice.")
            seen.add(name)
            yield (*at, name), line
            yield from _key_lines(value, (*at, name), path, above)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*at, index), item.start_mark.line + 1
            yield from _key_lines(item, (*at, index), path, above)


def show(key_path: KeyPath) -> str:
    """`("models", 0, "name")` as `models[0].name`."""
    text = ""
    for part in key_path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
