"""What KubeRay has Serve run: in a RayService's `serveConfigV2`, `import_path: deployments.kuberay:application`.

`args` are a Stageline configuration, inline. Serve calls this in a worker's process on some node, again whenever `args`
change, and shows what it raises as the application's status.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ray import serve

import deployments
from deployments import preflight
from deployments.access.exposure import check_access
from deployments.app import build_app
from deployments.settings import Settings, read_settings
from deployments.sources import fetch_with_changes
from deployments.variant_files import judge, served_files
from engine.errors import ConfigError

log = logging.getLogger(__name__)

ADMIN_PORT = 8001
PACKAGE = Path(deployments.__file__).parent
"""What relative paths count from: it is at the same place in every pod of an image."""


def application(args: dict[str, Any]) -> serve.Application:
    """The application that serves what `args` say, on a cluster whose nodes come and go.

    Every replica reserves all of its cores, so that Ray's autoscaler sees what is missing, and one that is replaced
    goes on until its successor answers. The models are fetched on this node, to be judged; each other node fetches what
    it needs. Without API keys the configuration has to say that it is for everybody. Raises ConfigError, SourceError
    and CheckpointError.
    """
    settings = _settings(args)
    paths = {
        model.name: fetch_with_changes(model.source, sha256=model.sha256, changes=model.changes)
        for model in settings.models
    }
    preflight.check_models(settings, paths)
    judged = judge(settings, paths)
    verdicts = {key: one.verdict for key, one in judged.items()}
    for verdict in verdicts.values():
        if verdict.warning is not None:
            log.warning("%s", verdict.warning)
    return build_app(settings, served_files(settings, judged), verdicts, share=1.0, surge=True)


def _settings(args: dict[str, Any]) -> Settings:
    settings = read_settings(args, PACKAGE, lambda at: "args")
    for key in ("host", "port"):
        if key in settings.http.model_fields_set:
            raise ConfigError(
                f"args: http.{key}: it means nothing here; set {key} in http_options, beside the applications.",
                param=f"http.{key}",
            )
    check_access(settings, to_others=True)
    for i, model in enumerate(settings.models):
        for k, variant in enumerate(model.variants):
            if variant.cores is None:
                key = f"models[{i}].variants[{k}].cores"
                raise ConfigError(
                    f"args: {key}: this key is needed here. {model.name}:{variant.name} cannot share what is left of a "
                    "cluster that grows with what is reserved: say how many cores of a pod each replica has, or each "
                    "of its stages.",
                    param=key,
                )
    if settings.http.admin_port is None:
        return settings.with_http(admin_port=ADMIN_PORT)  # in a pod nobody else can have it
    return settings
