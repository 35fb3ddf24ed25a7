from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployments.k8s import programs
from deployments.k8s.schemas.kuberay import Schemas, load_schemas
from engine.errors import ConfigError


@pytest.fixture(scope="session")
def kubectl() -> programs.Program:
    try:
        return programs.kubectl()
    except ConfigError as error:
        pytest.skip(f"{error}")


@pytest.fixture(scope="session")
def helm() -> programs.Program:
    try:
        return programs.helm()
    except ConfigError as error:
        pytest.skip(f"{error}")


@pytest.fixture(scope="session")
def kuberay_schemas() -> Schemas:
    """KubeRay's own definitions, from the folder that KUBERAY_CRDS names."""
    folder = os.environ.get("KUBERAY_CRDS")
    if folder is None or not Path(folder).is_dir():
        pytest.skip("KubeRay's definitions are not here: name their folder with KUBERAY_CRDS")
    return load_schemas(Path(folder))
