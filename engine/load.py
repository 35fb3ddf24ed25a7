"""From files to an engine: chooses kernels, sizes the cache, loads the weights."""

from __future__ import annotations

import contextlib
import ctypes
import logging
from pathlib import Path

from engine.checkpoint import Checkpoint, open_checkpoint
from engine.config import EngineConfig, Precision, compute_dtype, needs_preparing
from engine.engine import Engine, Limits
from engine.errors import CheckpointError, ConfigError
from engine.kernels import Kernels, select_kernels
from engine.models import Architecture, load_decoder, read_architecture
from engine.pipeline.generation import Answer, DecoderLayers, Work
from engine.pipeline.runner import LocalRunner, Runner
from engine.sampling.grammar import GrammarCompiler
from engine.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)


DOUBLE_AT = 2
"""At how many hidden sizes of context attention takes as long as all else in a layer. By operations (24 times the
hidden size squared, against four times hidden size and context) it is 6, but products do more of them a second."""


def load_engine(path: Path, config: EngineConfig) -> Engine:
    """The engine for the model at `path`, which computes in this process. Raises CheckpointError and ConfigError."""
    with open_checkpoint(path) as checkpoint:
        layers = load_layers(checkpoint, config)
        log.info("%s: %s kernels, %s", path, layers.decoder.kernels.name, config.precision)
        return make_engine(checkpoint, config, LocalRunner(layers.compute))


def load_layers(checkpoint: Checkpoint, config: EngineConfig, first: int = 0, last: int | None = None) -> DecoderLayers:
    """Layers `first` to `last` - 1; their caches have as many blocks as all layers' have together in what the
    configuration allows. Raises as `load_engine`."""
    check_precision(checkpoint, config.precision)
    arch = read_architecture(checkpoint)
    kernels = select_kernels(config.device, compute_dtype(config.precision))
    limits = resolve_limits(arch, kernels, config)
    decoder = load_decoder(checkpoint, kernels, limits.max_model_len, first, last)
    return_freed_memory()
    caches = [kernels.make_cache(limits.blocks, limits.block_size, arch.heads) for _ in decoder.layers]
    return DecoderLayers(decoder, caches)


def make_engine(checkpoint: Checkpoint, config: EngineConfig, runner: Runner[Work, Answer]) -> Engine:
    """The engine for layers that `runner` has, wherever they are. Raises as `load_engine`."""
    check_precision(checkpoint, config.precision)
    arch = read_architecture(checkpoint)
    kernels = select_kernels(config.device, compute_dtype(config.precision))
    limits = resolve_limits(arch, kernels, config)
    tokenizer = load_tokenizer(checkpoint)
    eos = eos_token_ids(checkpoint) if tokenizer is None else tokenizer.eos_token_ids
    grammars = None if tokenizer is None else GrammarCompiler(tokenizer, arch.vocab_size, eos)
    log.info("%s: %d blocks of %d tokens", checkpoint.path, limits.blocks, limits.block_size)
    return Engine(runner, limits, arch.vocab_size, eos, grammars, kernels=kernels.name)


def check_precision(checkpoint: Checkpoint, precision: Precision) -> None:
    """Raises CheckpointError where the files hold another precision than the one that is wanted."""
    held = checkpoint.precision
    if held is not None and held != precision:
        raise CheckpointError(f"{checkpoint.path} was prepared for {held}, not for {precision}")
    if held is None and needs_preparing(precision):
        raise CheckpointError(
            f"{checkpoint.path} is not prepared for {precision}: `stageline quantize` makes a folder that is"
        )


def return_freed_memory() -> None:
    """Gives back to the system what loading took and freed; the allocator would keep it for this process."""
    with contextlib.suppress(OSError, AttributeError):  # glibc has it, others return memory by themselves
        ctypes.CDLL(None).malloc_trim(0)


def resolve_limits(arch: Architecture, kernels: Kernels, config: EngineConfig) -> Limits:
    """Numbers for what the configuration leaves open.

    The longest sequence is what the model was made for, unless the configuration says less or the cache holds less: one
    sequence must always fit. Raises ConfigError when the configuration asks for more than either.
    """
    block_bytes = kernels.cache_bytes(config.block_size, arch.heads) * arch.num_layers
    blocks = config.kv_cache_bytes // block_bytes
    room = blocks * config.block_size
    if blocks < 2:
        need = 2 * block_bytes / 2**20
        raise ConfigError(f"kv_cache is too small: this model needs at least {need:.0f}MiB", param="kv_cache")
    wanted = config.max_model_len
    if wanted is not None and wanted > arch.max_positions:
        raise ConfigError(f"max_model_len {wanted}: the model was made for {arch.max_positions}", param="max_model_len")
    if wanted is not None and wanted > room:
        need = -(-wanted // config.block_size) * block_bytes / 2**20
        raise ConfigError(f"max_model_len {wanted} needs a kv_cache of {need:.0f}MiB", param="max_model_len")
    return Limits(
        max_model_len=wanted or min(arch.max_positions, room),
        blocks=blocks,
        block_size=config.block_size,
        max_batch_tokens=config.max_batch_tokens,
        max_running=min(config.max_running, config.max_batch_tokens),
        max_waiting=config.max_waiting,
        prefix_cache=config.prefix_cache,
        double_at=DOUBLE_AT * arch.hidden_size,
    )


def eos_token_ids(checkpoint: Checkpoint) -> tuple[int, ...]:
    """The tokens that end an answer where no tokenizer tells: generation_config.json's, else config.json's."""
    found = checkpoint.generation_config.get("eos_token_id", checkpoint.config.get("eos_token_id"))
    ids = found if isinstance(found, list) else [] if found is None else [found]
    return tuple(int(one) for one in ids)


def load_tokenizer(checkpoint: Checkpoint) -> Tokenizer | None:
    """The model's tokenizer; None where it has none, for it can still be given token ids."""
    try:
        return checkpoint.tokenizer()
    except CheckpointError as error:
        log.warning("no constrained output and only the configured end tokens: %s", error)
        return None
