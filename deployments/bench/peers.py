"""What a user would run instead, each in a process of its own: `PYTHON peers.py KIND PATH OPTIONS`.

Stands alone with the modules beside it, so that another environment's Python can run it: it needs what its kind names
(torch and transformers, onnx and onnxruntime, ctranslate2, llama_cpp, openvino_genai), and nothing of Stageline. Spoken
to as `worker.py` is: a line of JSON with what it is, then one answer a line.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

# Modules by name: this file is run as a script, whose folder is where Python looks first.
MODULES = {
    "transformers-encoder": "text_peers",
    "onnxruntime": "text_peers",
    "transformers-translator": "text_peers",
    "ctranslate2": "text_peers",
    "llama.cpp": "generation_peers",
    "openvino": "generation_peers",
}


def main() -> None:
    kind, path, options = sys.argv[1:]
    # Libraries print; the answers go to the real output alone.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    make = importlib.import_module(MODULES[kind]).KINDS[kind]
    command, facts = make(Path(path), json.loads(options))
    print(json.dumps(facts), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(command(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
