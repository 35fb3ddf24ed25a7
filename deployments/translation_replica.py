"""One replica of a translation variant."""

from __future__ import annotations

from dataclasses import replace

from deployments.compute_replica import ComputeReplica
from deployments.pipelines import Cut, load_pipelined
from deployments.provision import VariantFiles, variant_path
from deployments.replica_metrics import Measures, Rate, load_gauges
from engine.seq2seq.config import Seq2SeqConfig
from engine.seq2seq.engine import Seq2SeqEngine, Seq2SeqStats
from engine.seq2seq.load import load_seq2seq_engine
from engine.seq2seq.request import Translated, TranslateRequest
from engine.steps import SteppedEngine


class TranslationReplica(ComputeReplica[TranslateRequest, Translated, Seq2SeqStats]):
    """Loads the model when it is made. Raises SourceError, CheckpointError and ConfigError."""

    def __init__(
        self, model: str, variant: str, files: VariantFiles, config: Seq2SeqConfig, cut: Cut | None = None
    ) -> None:
        self.sentences, self.tokens = Rate(), Rate()

        def load() -> SteppedEngine[TranslateRequest, None, Translated, Seq2SeqStats]:
            if cut is not None:
                return load_pipelined("translation", files, config, cut)
            return load_seq2seq_engine(variant_path(files), config)

        super().__init__(model, variant, config.threads, load)

    def renamed(self, request: TranslateRequest, request_id: str) -> TranslateRequest:
        return replace(request, id=request_id)

    def size(self, request: TranslateRequest) -> tuple[int, int]:
        return len(request.source), request.decoding.max_tokens

    def written(self, result: Translated) -> int:
        return result.steps

    def at_work(self, stats: Seq2SeqStats) -> tuple[int, int]:
        return stats.running, stats.waiting

    def measures(self, stats: Seq2SeqStats) -> Measures:
        engine = self.loop.engine
        assert isinstance(engine, Seq2SeqEngine)
        usage = stats.slots_used / stats.slots_total
        return Measures(
            gauges={
                **load_gauges(stats.running, stats.waiting),
                "vllm:kv_cache_usage_perc": ("Share of the KV cache in use, 0 to 1.", usage),
            },
            counters={
                "vllm:num_preemptions": ("Requests whose cache was given to others for a while.", stats.preemptions),
                "stageline:sentences": ("Sentences translated.", stats.sentences),
                "stageline:padding_avoided_tokens": (
                    "Tokens that padding would have added to batches.",
                    stats.padding_tokens,
                ),
            },
            status={
                "running": stats.running,
                "waiting": stats.waiting,
                "kv_cache_usage": round(usage, 4),
                "sentences_per_s": round(self.sentences.per_s(stats.sentences), 1),
                "tokens_per_s": round(self.tokens.per_s(stats.generated_tokens), 1),
                "sentences": stats.sentences,
                "kernels": engine.kernels,
                "max_model_len": engine.limits.max_model_len,
                "max_new_tokens": engine.limits.max_new_tokens,
            },
        )
