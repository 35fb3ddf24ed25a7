"""Peers that classify and translate, see `peers.py`: they get texts as token ids."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

Command = Callable[[dict[str, Any]], dict[str, Any]]
Texts = list[list[int]]


def padded(texts: Texts) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask (B, longest)."""
    longest = max(len(text) for text in texts)
    ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    return ids, mask


def batches(texts: Texts, size: int) -> Iterator[Texts]:
    for at in range(0, len(texts), size):
        yield texts[at : at + size]


def timed(work: Callable[[], Any]) -> dict[str, Any]:
    started = time.perf_counter()
    out = work()
    return {"seconds": time.perf_counter() - started, "out": out}


def classifier(path: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()


def transformers_encoder(path: Path, options: dict[str, Any]) -> tuple[Command, dict[str, Any]]:
    """A classifier in fp32; its batches are padded."""
    torch.set_num_threads(options["threads"])
    model = classifier(path)

    @torch.inference_mode()
    def classify(texts: Texts, batch: int) -> list[int]:
        found: list[int] = []
        for some in batches(texts, batch):
            ids, mask = padded(some)
            found += model(input_ids=ids, attention_mask=mask).logits.argmax(-1).tolist()
        return found

    return lambda command: timed(lambda: classify(command["texts"], command["batch"])), {"fp32": True}


def onnxruntime_encoder(path: Path, options: dict[str, Any]) -> tuple[Command, dict[str, Any]]:
    """The same exported to ONNX, in fp32, or int8: weights per channel, activations measured at run time."""
    import onnxruntime as ort

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = classifier(path)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(input_ids=ids, attention_mask=mask).logits
            return logits

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        axes = {name: {0: "batch", 1: "tokens"} for name in ("ids", "mask")} | {"logits": {0: "batch"}}
        ids, mask = padded([[101, 2054, 2003, 102], [101, 2054, 102]])
        torch.onnx.export(
            Logits(), (ids, mask), file, input_names=["ids", "mask"], output_names=["logits"],
            dynamic_axes=axes, opset_version=17, dynamo=False,
        )  # fmt: skip
        if options["precision"] == "int8":
            from onnxruntime.quantization import QuantType, quantize_dynamic

            quantize_dynamic(file, file, per_channel=True, weight_type=QuantType.QInt8)
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = options["threads"]
        session = ort.InferenceSession(file, settings, providers=["CPUExecutionProvider"])

    def classify(texts: Texts, batch: int) -> list[int]:
        found: list[int] = []
        for some in batches(texts, batch):
            ids, mask = padded(some)
            (logits,) = session.run(None, {"ids": ids.numpy(), "mask": mask.numpy()})
            found += logits.argmax(-1).tolist()
        return found

    return lambda command: timed(lambda: classify(command["texts"], command["batch"])), {"onnxruntime": ort.__version__}


def transformers_translator(path: Path, options: dict[str, Any]) -> tuple[Command, dict[str, Any]]:
    """Greedy or beam search in fp32; its batches are padded and run until their longest answer is done."""
    from transformers import AutoModelForSeq2SeqLM

    torch.set_num_threads(options["threads"])
    model = AutoModelForSeq2SeqLM.from_pretrained(path, dtype=torch.float32).eval()
    padding = model.config.pad_token_id

    @torch.inference_mode()
    def translate(texts: Texts, batch: int, beams: int, tokens: int) -> list[list[int]]:
        found: list[list[int]] = []
        for some in batches(texts, batch):
            ids, mask = padded(some)
            ids = torch.where(mask > 0, ids, padding)
            out = model.generate(
                ids,
                attention_mask=mask,
                num_beams=beams,
                do_sample=False,
                max_new_tokens=tokens,
                num_return_sequences=1,
            )
            found += out.tolist()
        return found

    def run(command: dict[str, Any]) -> dict[str, Any]:
        return timed(lambda: translate(command["texts"], command["batch"], command["beams"], command["tokens"]))

    return run, {}


def ctranslate2_translator(path: Path, options: dict[str, Any]) -> tuple[Command, dict[str, Any]]:
    """The Marian folder converted, in `options["precision"]`."""
    import ctranslate2

    vocabulary = json.loads((path / "vocab.json").read_text(encoding="utf-8"))
    pieces = {number: piece for piece, number in vocabulary.items()}
    with tempfile.TemporaryDirectory() as folder:
        ctranslate2.converters.TransformersConverter(str(path)).convert(folder, force=True)
        translator = ctranslate2.Translator(
            folder, compute_type=options["precision"], intra_threads=options["threads"], inter_threads=1
        )

    def translate(texts: Texts, batch: int, beams: int, tokens: int) -> list[list[str]]:
        source = [[pieces[token] for token in text] for text in texts]
        results = translator.translate_batch(source, beam_size=beams, max_batch_size=batch, max_decoding_length=tokens)
        return [result.hypotheses[0] for result in results]

    def run(command: dict[str, Any]) -> dict[str, Any]:
        return timed(lambda: translate(command["texts"], command["batch"], command["beams"], command["tokens"]))

    return run, {"ctranslate2": ctranslate2.__version__}


KINDS = {
    "transformers-encoder": transformers_encoder,
    "onnxruntime": onnxruntime_encoder,
    "transformers-translator": transformers_translator,
    "ctranslate2": ctranslate2_translator,
}
