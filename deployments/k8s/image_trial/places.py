"""Where steps are tried: an empty Debian, entered by chroot, or a folder that stands for the few paths that matter."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

LIMIT_S = 3600.0
BINDS = ("/etc/resolv.conf",)


class Place(Protocol):
    """A root for each stage. Commands raise CalledProcessError."""

    def begin(self, stage: str, source: str, known: Sequence[str]) -> None:
        """A stage begins, as a copy of a `known` one or from an image."""

    def path(self, stage: str, path: str) -> Path:
        """Where a path of the stage is on this machine."""

    def run(self, stage: str, command: Sequence[str], environment: Mapping[str, str], folder: str, user: str) -> bool:
        """Runs it; False where it is left out, as this place has nothing for it."""

    def copy_stage(self, source: str, stage: str, path: str, to: str) -> None:
        """Copies a path from one stage into another."""


class Folder:
    """One folder for all stages: the paths in `below` are in it, all others this machine's own. What needs Debian's
    packages or another user is left out."""

    def __init__(self, folder: Path, below: Sequence[str]) -> None:
        self.folder = folder
        self._below = re.compile(rf"(?<![\w.-])(?=(?:{'|'.join(map(re.escape, below))})(?:/|\W|$))")

    def begin(self, stage: str, source: str, known: Sequence[str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, stage: str, path: str) -> Path:
        return Path(self._moved(path))

    def run(self, stage: str, command: Sequence[str], environment: Mapping[str, str], folder: str, user: str) -> bool:
        moved = [self._moved(word) for word in command]
        if any(re.search(r"\b(apt-get|useradd)\b", word) for word in moved):
            return False
        inside = self.path(stage, folder)
        known = {name: self._moved(value) for name, value in environment.items()}
        subprocess.run(
            moved,
            check=True,
            cwd=inside if inside.is_dir() else self.folder,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | known,
            timeout=LIMIT_S,
        )
        return True

    def copy_stage(self, source: str, stage: str, path: str, to: str) -> None:
        if path != to:
            shutil.copytree(self.path(source, path), self.path(stage, to), symlinks=True)

    def _moved(self, text: str) -> str:
        return self._below.sub(str(self.folder), text)


class Debian:
    """A root for each stage below `folder`. The first is made by debootstrap, of the release `suite`, whatever image
    the Dockerfile names. Needs root and `debootstrap`. `binds` are paths of this machine (`/here` or `/here:/there`)
    that can be read inside. Once `writable` is set, only the folders that it names can be written, as in a pod."""

    def __init__(self, folder: Path, suite: str, binds: Sequence[str]) -> None:
        self.folder, self.suite = folder, suite
        pairs = [bind.partition(":")[::2] for bind in (*BINDS, *binds)]
        self.binds = {target or source: source for source, target in pairs}
        self.writable: Sequence[str] | None = None

    def begin(self, stage: str, source: str, known: Sequence[str]) -> None:
        root = self.folder / stage
        self.folder.mkdir(parents=True, exist_ok=True)
        if source in known:
            _checked(["cp", "-a", "--reflink=auto", str(self.folder / source), str(root)])
        else:
            _checked(["debootstrap", "--variant=minbase", self.suite, str(root)])

    def path(self, stage: str, path: str) -> Path:
        return self.folder / stage / path.lstrip("/")

    def run(self, stage: str, command: Sequence[str], environment: Mapping[str, str], folder: str, user: str) -> bool:
        root = self.folder / stage
        lines = ["set -e"]
        if self.writable is not None:
            lines += ["mount --bind . .", f"cd {shlex.quote(str(root))}", "mount -o remount,bind,ro ."]
            lines += [f"mount -t tmpfs -o mode=1777 tmpfs {shlex.quote(path.lstrip('/'))}" for path in self.writable]
        lines += ["mount -t proc proc proc", "mount --rbind /dev dev"]
        for target, source in self.binds.items():
            inside = self.path(stage, target)
            if self.writable is None and not inside.exists():
                inside.parent.mkdir(parents=True, exist_ok=True)
                inside.mkdir() if Path(source).is_dir() else inside.touch()
            there = shlex.quote(target.lstrip("/"))
            # What a step installs may well write there: it must not change this machine.
            lines += [f"mount --bind {shlex.quote(source)} {there}", f"mount -o remount,bind,ro {there}"]
        known = [f"{name}={value}" for name, value in environment.items()]
        inner = shlex.join(["sh", "-c", f"cd {shlex.quote(folder)} && exec {shlex.join(command)}"])
        as_user = f"--userspec={shlex.quote(user)} " if user else ""
        lines.append(f"exec env -i {shlex.join(known)} chroot {as_user}. {inner}")
        _checked(["unshare", "--mount", "sh", "-c", "\n".join(lines)], cwd=root)
        return True

    def copy_stage(self, source: str, stage: str, path: str, to: str) -> None:
        target = self.path(stage, to)
        target.parent.mkdir(parents=True, exist_ok=True)
        _checked(["cp", "-a", str(self.path(source, path)), str(target)])


def _checked(command: Sequence[str], cwd: Path | None = None) -> None:
    subprocess.run(command, check=True, cwd=cwd, timeout=LIMIT_S)
