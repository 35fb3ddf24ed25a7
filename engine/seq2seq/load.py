"""From files to an encoder-decoder engine: chooses kernels, sizes the cache, loads the weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.checkpoint import Checkpoint, open_checkpoint
from engine.config import compute_dtype
from engine.errors import CheckpointError, ConfigError
from engine.kernels import Kernels, select_kernels
from engine.load import check_precision, return_freed_memory
from engine.models.cross_architecture import Seq2SeqArchitecture
from engine.models.seq2seq import load_seq2seq, seq2seq_family_of
from engine.pipeline.runner import Runner
from engine.seq2seq.config import Seq2SeqConfig
from engine.seq2seq.engine import Seq2SeqEngine, Seq2SeqLimits
from engine.seq2seq.group import Vocabulary
from engine.seq2seq.work import Answer, Work, local_runner

log = logging.getLogger(__name__)

UNBOUNDED_LENGTH = 512  # tokens of a source or target where the model itself sets no bound


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of an encoder-decoder before its weights are read."""

    arch: Seq2SeqArchitecture
    vocabulary: Vocabulary
    limits: Seq2SeqLimits
    kernels: Kernels

    def engine(self, runner: Runner[Work, Answer]) -> Seq2SeqEngine:
        return Seq2SeqEngine(runner, self.limits, self.arch, self.vocabulary, self.kernels.name)


def plan(checkpoint: Checkpoint, config: Seq2SeqConfig) -> Plan:
    """Raises CheckpointError and ConfigError."""
    check_precision(checkpoint, config.precision)
    arch = seq2seq_family_of(checkpoint.config).architecture(checkpoint.config)
    vocabulary = read_vocabulary(checkpoint, arch)
    kernels = select_kernels(config.device, compute_dtype(config.precision))
    return Plan(arch, vocabulary, resolve_limits(arch, kernels, config), kernels)


def load_seq2seq_engine(path: Path, config: Seq2SeqConfig) -> Seq2SeqEngine:
    """The engine for the model at `path`. Raises CheckpointError and ConfigError."""
    with open_checkpoint(path) as checkpoint:
        planned = plan(checkpoint, config)
        limits = planned.limits
        model = load_seq2seq(checkpoint, planned.kernels, limits.max_model_len, limits.max_new_tokens)
        model.encoder.rehearse()
        return_freed_memory()
        caches = model.decoder.make_caches(limits.slots)
    log.info(
        "%s: %s kernels, %s, sources of up to %d tokens, targets of up to %d, room for %d",
        path,
        planned.kernels.name,
        config.precision,
        limits.max_model_len,
        limits.max_new_tokens,
        limits.slots,
    )
    return planned.engine(local_runner(model, caches))


def resolve_limits(arch: Seq2SeqArchitecture, kernels: Kernels, config: Seq2SeqConfig) -> Seq2SeqLimits:
    """Numbers for what the configuration leaves open.

    One greedy sentence of the longest kind must always fit into the cache. Raises ConfigError where it does not, or the
    configuration asks for more than the model was made for.
    """
    decoder = arch.decoder
    slot_bytes = decoder.num_layers * 2 * decoder.heads * decoder.head_width * kernels.dtype.itemsize
    slots = config.cache_bytes // slot_bytes
    found = {}
    for key, wanted, most in (
        ("max_model_len", config.max_model_len, arch.encoder.max_positions),
        ("max_new_tokens", config.max_new_tokens, decoder.max_positions),
    ):
        if wanted is not None and (wanted < 1 or (most is not None and wanted > most)):
            raise ConfigError(f"{key} {wanted}: the model was made for 1 to {most or 'any number of'}", param=key)
        found[key] = wanted or most or UNBOUNDED_LENGTH
    source, target = found["max_model_len"], found["max_new_tokens"]
    if slots < source + target:
        need = (source + target) * slot_bytes / 2**20
        raise ConfigError(
            f"kv_cache is too small: a source of {source} and a target of {target} tokens need {need:.1f}MiB. "
            "Give it more, or set max_model_len.",
            param="kv_cache",
        )
    return Seq2SeqLimits(
        max_model_len=source,
        max_new_tokens=target,
        slots=slots,
        max_batch_tokens=config.max_batch_tokens,
        max_running=min(config.max_running, config.max_batch_tokens),
        max_waiting=config.max_waiting,
    )


def read_vocabulary(checkpoint: Checkpoint, arch: Seq2SeqArchitecture) -> Vocabulary:
    """The tokens that start and end a target. Raises CheckpointError where the files name none."""

    def named(key: str) -> object:
        return checkpoint.generation_config.get(key, checkpoint.config.get(key))

    start = named("decoder_start_token_id")
    if start is None:
        start = named("bos_token_id")
    given = named("eos_token_id")
    ends: list[Any] = given if isinstance(given, list) else [given]
    for key, values in (("decoder_start_token_id", [start]), ("eos_token_id", ends)):
        if not values or not all(type(v) is int and 0 <= v < arch.decoder.vocab_size for v in values):
            raise CheckpointError(
                f"{checkpoint.path}: config.json and generation_config.json name no {key} within the vocabulary"
            )
    assert isinstance(start, int)
    return Vocabulary(start, tuple(ends))
