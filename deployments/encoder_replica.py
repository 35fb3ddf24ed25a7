"""One replica of a classification or embedding variant."""

from __future__ import annotations

from dataclasses import replace

from deployments.compute_replica import ComputeReplica
from deployments.pipelines import Cut, load_pipelined
from deployments.provision import VariantFiles, variant_path
from deployments.replica_metrics import Measures, Rate, load_gauges
from engine.encoder.config import EncoderConfig
from engine.encoder.describe import Task
from engine.encoder.engine import EncoderEngine, EncoderStats
from engine.encoder.load import load_encoder_engine
from engine.encoder.request import Encoded, EncodeRequest
from engine.steps import SteppedEngine


class EncoderReplica(ComputeReplica[EncodeRequest, Encoded, EncoderStats]):
    """Loads the model when it is made. Raises SourceError, CheckpointError and ConfigError."""

    def __init__(
        self, model: str, variant: str, files: VariantFiles, config: EncoderConfig, task: Task, cut: Cut | None = None
    ) -> None:
        self.texts, self.tokens = Rate(), Rate()

        def load() -> SteppedEngine[EncodeRequest, None, Encoded, EncoderStats]:
            if cut is not None:
                return load_pipelined(task, files, config, cut)
            return load_encoder_engine(variant_path(files), config, task)

        super().__init__(model, variant, config.threads, load)

    def renamed(self, request: EncodeRequest, request_id: str) -> EncodeRequest:
        return replace(request, id=request_id)

    def size(self, request: EncodeRequest) -> tuple[int, int]:
        return len(request.tokens), 0

    def written(self, result: Encoded) -> int:
        return 0

    def at_work(self, stats: EncoderStats) -> tuple[int, int]:
        return stats.running, stats.waiting

    def measures(self, stats: EncoderStats) -> Measures:
        engine = self.loop.engine
        assert isinstance(engine, EncoderEngine)
        return Measures(
            gauges=load_gauges(stats.running, stats.waiting),
            counters={
                "stageline:texts": ("Texts encoded.", stats.texts),
                "stageline:padding_avoided_tokens": (
                    "Tokens that padding would have added to batches.",
                    stats.padding_tokens,
                ),
            },
            status={
                "running": stats.running,
                "waiting": stats.waiting,
                "texts_per_s": round(self.texts.per_s(stats.texts), 1),
                "tokens_per_s": round(self.tokens.per_s(stats.prompt_tokens), 1),
                "texts": stats.texts,
                "kernels": engine.kernels,
                "max_model_len": engine.limits.max_model_len,
            },
        )
