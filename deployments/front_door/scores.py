"""From a classifier's raw scores to what callers read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deployments.front_door.served_models import ClassificationModel


def activated(model: ClassificationModel, raw: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities (labels,) of raw scores (labels,): softmax where one label of several holds, each its own sigmoid
    where any may, and a regression's values as they are."""
    scores = raw.astype(np.float64)
    if model.problem == "regression":
        return scores
    if model.problem == "multi" or len(scores) == 1:
        return _sigmoid(scores)
    exponents = np.exp(scores - scores.max())
    return np.asarray(exponents / exponents.sum())


def _sigmoid(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    small = np.exp(-np.abs(scores))  # at most 1: no overflow on either side
    return np.where(scores >= 0, 1.0, small) / (1.0 + small)


def ranked(model: ClassificationModel, scores: NDArray[np.floating]) -> list[dict[str, float | str]]:
    """text-embeddings-inference's answer for one text: labels with their scores, the highest first."""
    order = np.argsort(-scores, kind="stable").tolist()
    values = scores.tolist()
    return [{"score": values[index], "label": model.labels[index]} for index in order]
