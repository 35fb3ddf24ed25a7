"""The command line of the trial."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from deployments.k8s.image_trial.build import build
from deployments.k8s.image_trial.places import Debian, Folder, Place

CONTEXT = Path(__file__).parents[3]
BELOW = ("/opt/stageline", "/build", "/home/stageline", "/var/cache/stageline", "/models")
WRITABLE = ("/tmp", "/home/stageline", "/var/cache/stageline")
KERNELS = "from engine.kernels.build import library; made = library(); print(made); raise SystemExit(made is None)"
CHECKS = (
    ("stageline", "--help"),
    ("ray", "--version"),
    ("locust", "--version"),
    # What KubeRay runs of the image beside Ray itself: the autoscaler, and Serve by way of the dashboard.
    ("python", "-c", "import ray.autoscaler._private.kuberay.run_autoscaler, ray.dashboard.modules.serve.serve_head"),
    ("python", "-c", KERNELS),
)
IN_DEBIAN = (
    ("bash", "-c", "type -P wget grep g++ openssl tini"),
    ("bash", "-c", '[ "$(id -u):$(id -g)" = 10001:10001 ] && ! touch /opt/stageline/x && touch /tmp/x "$HOME/x"'),
)


def main() -> int:
    """Exit status 1 where a step or a check fails."""
    parser = argparse.ArgumentParser(prog="python -m deployments.k8s.image_trial", description=__doc__)
    parser.add_argument("dockerfile", type=Path)
    parser.add_argument("--arg", action="append", default=[], metavar="NAME=VALUE", help="an ARG of the build")
    parser.add_argument("--folder", type=Path, help="where to build; by default a temporary folder, deleted at the end")
    parser.add_argument("--root", action="store_true", help="in an empty Debian: needs root, debootstrap and unshare")
    parser.add_argument("--suite", default="bookworm", help="Debian's release, for --root")
    parser.add_argument("--bind", action="append", default=[], metavar="PATH[:INSIDE]", help="to be read in the root")
    given = parser.parse_args()
    arguments = dict(pair.partition("=")[::2] for pair in given.arg)
    with tempfile.TemporaryDirectory(prefix="stageline-image-") as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        place: Place = Debian(folder, given.suite, given.bind) if given.root else Folder(folder, BELOW)
        try:
            built = build(given.dockerfile, CONTEXT, place, arguments, print)
            settings = built.settings
            if isinstance(place, Debian):
                place.writable = WRITABLE
            for command in (*CHECKS, *(IN_DEBIAN if given.root else ())):
                print("check:", " ".join(command)[:100], flush=True)
                place.run(built.stage, command, settings.environment, settings.folder, settings.user)
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            print(f"failed: {error}", file=sys.stderr)
            return 1
    print("all steps were done" if given.root else "all steps that a folder can take were done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
