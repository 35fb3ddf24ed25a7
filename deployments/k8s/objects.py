"""Kubernetes objects as they lie in rendered YAML, and how a rule says that one is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from engine.errors import ConfigError


@dataclass(frozen=True, slots=True)
class KubeObject:
    """One object. `data` is not to be changed."""

    data: Mapping[str, Any]

    @property
    def api_version(self) -> str:
        return str(self.data.get("apiVersion", ""))

    @property
    def group(self) -> str:
        """`ray.io` of `ray.io/v1`; nothing for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def kind(self) -> str:
        return str(self.data.get("kind", ""))

    @property
    def name(self) -> str:
        return str(get(self.data, "metadata.name", ""))

    @property
    def label(self) -> str:
        """For people: `RayService/stageline`."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What a rule found: in which object, at which key, and what to do. `path` is like `spec.containers[0].image`."""

    object: KubeObject
    path: str
    message: str


def load_objects(text: str, source: str) -> tuple[KubeObject, ...]:
    """The objects of a stream of YAML documents; lists are taken apart. Raises ConfigError, which names `source`."""
    try:
        documents = [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {' '.join(str(error).split())}.") from error
    return tuple(_objects(documents, source))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Refuses a key that is there twice, of which other loaders keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if key.value != "<<"]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{name} is there twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    """Kubernetes knows no dates: what looks like one stays what was written."""
    return str(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _text)
_Loader.add_constructor("tag:yaml.org,2002:value", _text)


def _objects(documents: Sequence[Any], source: str) -> Iterator[KubeObject]:
    for document in documents:
        if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
            raise ConfigError(f"{source}: this is no Kubernetes object: it has no kind or no apiVersion.")
        if document["kind"] == "List":
            yield from _objects(document.get("items") or [], source)
        else:
            yield KubeObject(document)


def get(data: Any, path: str, default: Any = None) -> Any:
    """What lies at a path like `spec.template.spec`; the default where something on the way is missing or null."""
    for key in path.split("."):
        if not isinstance(data, Mapping):
            return default
        data = data.get(key)
        if data is None:
            return default
    return data


def mapping(data: Any, path: str) -> Mapping[str, Any]:
    """The same where a mapping is wanted: an empty one for anything else."""
    found = get(data, path)
    return found if isinstance(found, Mapping) else {}


def sequence(data: Any, path: str) -> Sequence[Any]:
    """The same where a list is wanted."""
    found = get(data, path)
    return found if isinstance(found, list | tuple) else ()


def mappings(data: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The mappings of a list, each with its own path: (`spec.containers[0]`, ...)."""
    for index, item in enumerate(sequence(data, path)):
        if isinstance(item, Mapping):
            yield f"{path}[{index}]", item


def of_kind(objects: Sequence[KubeObject], *kinds: str) -> Iterator[KubeObject]:
    """Those of these kinds, whatever their group."""
    return (one for one in objects if one.kind in kinds)
