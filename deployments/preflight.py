"""What would go wrong later, told before anything starts: the port is taken, the memory will not do."""

from __future__ import annotations

import errno
import math
import socket
from collections.abc import Mapping
from pathlib import Path

import psutil

from cluster.pipeline.placement import nodes_needed
from deployments.settings import EVERYWHERE, Http, Model, Settings, Variant
from deployments.sizes import format_size
from engine.checkpoint import Checkpoint, open_checkpoint
from engine.config import Precision, compute_dtype, needs_preparing
from engine.encoder.describe import describe
from engine.errors import CheckpointError, ConfigError
from engine.models import read_architecture
from engine.models.seq2seq import seq2seq_family_of
from engine.pipeline.costs import count_layers
from engine.pipeline.partition import check_count, given_boundaries
from engine.text.translation import open_translation_text

# Rough figures on the safe side: of a quantized variant embeddings and some layers stay bf16; a node with Serve and the
# front door; and a replica beside its weights and cache.
_BYTES_PER_WEIGHT: dict[Precision, float] = {
    "fp32": 4,
    "bf16": 2,
    "int8-dynamic": 1.5,
    "int8-static": 1.5,
    "int8-weight": 1.5,
    "int4-weight": 1,
    "fp8": 1.5,
}
_NODE_BYTES = 1200 << 20
_REPLICA_BYTES = 350 << 20


def check_port(http: Http) -> None:
    """Raise `ConfigError` when the front door's port is taken, with its owner where the system tells."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(http.host, http.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that just ended is no obstacle
            probe.bind(address)
    except PermissionError:
        raise ConfigError(
            f"Port {http.port} needs more rights than this user has: choose one from 1024 on with --port.", param="port"
        ) from None
    except socket.gaierror:
        raise ConfigError(
            f"The host {http.host} is unknown: use 127.0.0.1, or 0.0.0.0 for all.", param="host"
        ) from None
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise ConfigError(f"{http.host} is no address of this machine: {error.strerror}.", param="host") from None
        owner = _listener(http.port)
        by = f" by {owner}" if owner else ""
        raise ConfigError(
            f"Port {http.port} is taken{by}: end it, or choose another port with --port.", param="port"
        ) from None


def check_memory(settings: Settings, paths: Mapping[str, Path]) -> str | None:
    """Raise `ConfigError` when this machine has less memory to give than the replicas that always run will take; a
    warning where it has too little for the others, which start when load asks for them."""
    weights = {model.name: count_weights(paths[model.name]) for model in settings.models}
    always, most = (
        _NODE_BYTES + sum(memory_of(model, weights[model.name], most=most) for model in settings.models)
        for most in (False, True)
    )
    available = available_memory()
    if always > available:
        raise ConfigError(
            f"Memory is short: about {format_size(always)} are needed and {format_size(available)} are available. End "
            "other programs, lower kv_cache or replicas.min, or use bf16."
        )
    if most > available:
        return (
            f"Memory may become short: all replicas at their most take about {format_size(most)}, and "
            f"{format_size(available)} are available. Lower kv_cache or replicas.max."
        )
    return None


def check_models(settings: Settings, paths: Mapping[str, Path]) -> None:
    """Raise `CheckpointError` for a model that could not be served: damaged, of unknown kind, without tokenizer, or not
    made for its task. Raise `ConfigError` for stages that it cannot be cut into."""
    for model in settings.models:
        try:
            with open_checkpoint(paths[model.name]) as checkpoint:
                _check_task(model, checkpoint)
                _check_stages(model, checkpoint)
        except CheckpointError as error:
            raise CheckpointError(f"The model {model.name} cannot be served: {error.message}") from error


def check_machine(settings: Settings, gpus: int) -> None:
    """Raise `ConfigError` for stages that this machine alone, with so many GPUs, has no place for."""
    for model in settings.models:
        for variant in model.variants:
            stages = variant.stages
            if nodes_needed(stages.count, stages.placement) > 1:
                raise ConfigError(
                    f"The variant {model.name}:{variant.name} cannot be placed: strict-spread wants a node for each of "
                    f"its {stages.count} stages and one for what feeds them, and this is one node. Use 'spread', or "
                    "join a cluster with --address.",
                    param="placement",
                )
    wanted = sum(v.least_processes * v.stages.num_gpus for model in settings.models for v in model.variants)
    if wanted > gpus:
        raise ConfigError(
            f"The stages that always run need {wanted:g} GPUs and there are {gpus}: lower num_gpus, replicas.min or "
            "the number of stages, or leave num_gpus out to compute on CPU cores.",
            param="num_gpus",
        )


def check_front_doors(http: Http, nodes: int) -> None:
    """Raise `ConfigError` for several front doors that so many nodes have no place for, or that nobody could reach."""
    if http.front_doors == 1:
        return
    if http.front_doors > nodes:
        have = "this is one node" if nodes == 1 else f"there are {nodes} nodes"
        raise ConfigError(
            f"http.front_doors is {http.front_doors} and {have}; a node has one at most. Lower it, or join a cluster "
            "of more nodes with --address.",
            param="http.front_doors",
        )
    if http.host not in (EVERYWHERE, "::"):
        raise ConfigError(
            f"With several front doors each listens on a node of its own, and {http.host} is the address of one: set "
            f"http.host to {EVERYWHERE}.",
            param="http.host",
        )


def _check_stages(model: Model, checkpoint: Checkpoint) -> None:
    layers = count_layers(checkpoint, model.task)
    for variant in model.variants:
        try:
            if variant.stages.balance is None:
                check_count(variant.stages.count, layers)
            else:
                given_boundaries(variant.stages.balance, layers, variant.stages.count)
        except ConfigError as error:
            raise ConfigError(
                f"The variant {model.name}:{variant.name} cannot be served: {error.message}.", param=error.param
            ) from None


def _check_task(model: Model, checkpoint: Checkpoint) -> None:
    match model.task:
        case "text-generation":
            read_architecture(checkpoint)
            checkpoint.tokenizer()
        case "translation":
            seq2seq_family_of(checkpoint.config).architecture(checkpoint.config)
            open_translation_text(checkpoint, model.pairs)
        case task:
            describe(checkpoint, task)
            checkpoint.tokenizer()


def memory_of(model: Model, weights: int, *, most: bool = False) -> int:
    """Bytes that a model's replicas take that always run, or all of them at their `most`, stages included. `weights` is
    the number of parameters."""
    return sum(
        (variant.replicas.max if most else variant.replicas.min)
        * (int(weights * _BYTES_PER_WEIGHT[variant.precision]) + model.kv_cache + _processes(variant) * _REPLICA_BYTES)
        for variant in model.variants
    )


def _processes(variant: Variant) -> int:
    """Of a replica: its stages, if there are several, are processes of their own."""
    return 1 if variant.stages.count == 1 else 1 + variant.stages.count


def count_weights(path: Path) -> int:
    """Number of parameters in a checkpoint, from its headers. Raises `CheckpointError`."""
    with open_checkpoint(path) as checkpoint:
        return sum(math.prod(checkpoint.shape(name)) for name in checkpoint.names())


def weight_bytes(path: Path, precision: Precision) -> int:
    """Bytes of a variant's weights as they are held: those of a prepared folder as they lie there."""
    if needs_preparing(precision):
        return sum(file.stat().st_size for file in path.glob("*.safetensors"))
    return count_weights(path) * compute_dtype(precision).itemsize


def available_memory() -> int:
    """Bytes that may still be used: the machine's, or what a container's limit leaves of it."""
    available = psutil.virtual_memory().available
    try:
        folder = Path("/sys/fs/cgroup")
        limit = (folder / "memory.max").read_text().strip()
        if limit != "max":
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            # The page cache counts as used there and goes when it is needed.
            used = int((folder / "memory.current").read_text()) - int(statistics.get("inactive_file", 0))
            available = min(available, int(limit) - used)
    except (OSError, ValueError):
        pass  # no cgroup v2 here: no limit of that kind
    return available


def _listener(port: int) -> str | None:
    """The process that listens on a port, if this user may know it."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                if connection.pid is None:
                    continue  # another user's
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass  # macOS keeps this for the administrator
    return None
