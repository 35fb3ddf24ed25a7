"""Compiles `csrc/` into one library of torch operators, once per source, compiler, processor and torch version.

Nothing here is required: without a compiler `library()` returns None and the engine runs on torch's own kernels.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import torch

log = logging.getLogger(__name__)

SOURCES = Path(__file__).parent / "csrc"
COMPILE_TIMEOUT_S = 300
FLAGS = ["-O3", "-march=native", "-std=c++20", "-fPIC", "-fopenmp-simd", "-fno-math-errno", "-ffp-contract=fast", "-w"]


def cache_folder() -> Path:
    return Path(os.environ.get("STAGELINE_CACHE") or Path.home() / ".cache" / "stageline") / "kernels"


def find_compiler() -> str | None:
    """The C++ compiler to use: $CXX, else g++ or clang++ from the path. STAGELINE_KERNELS=0 means none."""
    if os.environ.get("STAGELINE_KERNELS") == "0" or os.name != "posix":
        return None
    for name in (os.environ.get("CXX"), "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    return None


def processor() -> str:
    """What `-march=native` depends on: a library built on one machine must not run on a lesser one."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))


def library() -> Path | None:
    """The built library, compiling it if need be (about half a minute); None where that is not possible."""
    compiler = find_compiler()
    if compiler is None:
        return None
    files = sorted(SOURCES.iterdir())
    key = hashlib.sha256()
    for part in (torch.__version__, compiler, processor(), *FLAGS):
        key.update(part.encode())
    for file in files:
        key.update(file.read_bytes())
    target = cache_folder() / f"stageline-{key.hexdigest()[:16]}.so"
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{target}.lock", timeout=COMPILE_TIMEOUT_S):  # replicas start together: one compiles
            if not target.exists():
                compile_to(target, compiler, [file for file in files if file.suffix == ".cpp"])
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or str(error)
        log.warning("could not compile the CPU kernels, going on with torch's: %s", detail.strip()[-2000:])
        return None
    return target


def compile_to(target: Path, compiler: str, sources: list[Path]) -> None:
    """Writes `target` in one rename, so that nobody sees half of it."""
    from torch.utils.cpp_extension import include_paths  # brings setuptools: not for every start of a replica

    flags = [*FLAGS, f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"]
    flags += [f"-I{path}" for path in include_paths()]
    torch_libraries = Path(torch.__file__).parent / "lib"
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:

        def compile_one(source: Path) -> str:
            made = f"{folder}/{source.stem}.o"
            run([compiler, *flags, "-c", str(source), "-o", made])
            return made

        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            objects = list(pool.map(compile_one, sources))
        links = [f"-L{torch_libraries}", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{torch_libraries}"]
        made = f"{folder}/library.so"
        run([compiler, "-shared", *objects, *links, "-o", made])
        Path(made).replace(target)


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S)
