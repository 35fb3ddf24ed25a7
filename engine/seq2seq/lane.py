"""Groups whose steps are computed together. An engine has as many lanes as work may be under way at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.models.cross_decoder import Rows
from engine.seq2seq.group import Feed, Group, Vocabulary
from engine.seq2seq.sentence import Method, Sentence
from engine.seq2seq.slots import Ids


@dataclass(slots=True, eq=False)
class Lane:
    """Sentences by how they are decoded. They may leave at any time, but join only while no step is `under_way`."""

    groups: dict[tuple[Method, int], Group] = field(default_factory=dict)
    under_way: bool = False

    @property
    def rows(self) -> int:
        return sum(group.rows for group in self.groups.values())

    def holds(self, sentence: Sentence) -> Group | None:
        """The sentence's group, if it is in this lane."""
        group = self.groups.get((sentence.method, sentence.width))
        return group if group is not None and sentence in group.sentences else None

    def join(self, sentences: Sequence[Sentence], vocabulary: Vocabulary) -> None:
        """Takes in sentences whose source has its slots."""
        arrivals: dict[tuple[Method, int], list[Sentence]] = {}
        for sentence in sentences:
            arrivals.setdefault((sentence.method, sentence.width), []).append(sentence)
        for key, some in arrivals.items():
            group = self.groups.get(key) or Group(*key, vocabulary)
            group.join(some)
            self.groups[key] = group

    def leave(self, group: Group, kept: NDArray[np.bool_]) -> None:
        """Keeps only some of a group's sentences, (S,)."""
        group.leave(kept)
        if not group.sentences:
            del self.groups[group.method, group.width]


def batch(feeds: Sequence[Feed]) -> Rows:
    """The rows of several groups, one group after another."""

    def whole(name: str) -> Ids:
        parts: list[Ids] = [getattr(feed, name) for feed in feeds]
        if len(parts) == 1:
            return parts[0]
        if parts[0].ndim == 1:
            return np.concatenate(parts)
        widest = max(part.shape[1] for part in parts)
        return np.concatenate([np.pad(part, ((0, 0), (0, widest - part.shape[1]))) for part in parts])

    def tensor(name: str, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(whole(name))).to(dtype)

    return Rows(
        tokens=tensor("tokens", torch.int64),
        positions=tensor("positions", torch.int64),
        slots=tensor("slots", torch.int64),
        table=tensor("table", torch.int32),
        lengths=tensor("lengths", torch.int32),
        source_table=tensor("source_table", torch.int32),
        source_lengths=tensor("source_lengths", torch.int32),
    )
