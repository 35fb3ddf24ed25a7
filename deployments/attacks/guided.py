"""Fuzzing of one reader, led by what of its code is reached (atheris); a process of its own, as atheris ends it.

`python -m deployments.attacks.guided READER SECONDS FOLDER`; status 0 when nothing was found; what ended it is in
FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path

MOST_MIB = 2048
MOST_S = 10  # for one input


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["engine.checkpoint", "engine.text", "engine.plain_files"]):
        from deployments.attacks.damage import READERS

    name, seconds, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    reader = READERS[name]
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "seed").write_bytes(reader.seed)
    options = [
        f"-max_total_time={seconds}",
        f"-rss_limit_mb={MOST_MIB}",
        f"-timeout={MOST_S}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        "-seed=8",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *options], lambda data: reader.read(bytes(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
