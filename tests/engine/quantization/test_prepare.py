"""A prepared folder loads as what was prepared: for every family the same logits as with these weights in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.checkpoint import open_checkpoint
from engine.checkpoint.prepared import FILE
from engine.config import EngineConfig
from engine.errors import CheckpointError
from engine.kernels import TorchKernels
from engine.load import load_engine
from engine.models import load_classifier, load_decoder, load_encoder
from engine.models.packed import Text, pack
from engine.models.seq2seq import load_seq2seq
from engine.models.transform import Transform
from engine.pipeline.costs import measure_costs
from engine.quantization.prepare import prepare
from engine.quantization.recipe import Recipe, quantize
from engine.quantization.weight import QuantizedWeight, Weight
from tests.engine import tiny, tiny_encoders, tiny_seq2seq
from tests.engine.demo_model import demo_gguf
from tests.engine.models.test_families import TOKENS, decode
from tests.engine.models.test_seq2seq import TARGETS, score

KERNELS = TorchKernels(torch.bfloat16, torch.device("cpu"))
SOURCES = [[5, 9, 14, 30, 2], [7, 2], [44, 12, 8, 61, 25, 17, 2], [3, 2]]
TEXT = Text([5, 9, 14, 30, 77, 2])


def rounded(name: str, weight: Weight) -> Weight:
    """Every scheme once, and every fifth product as it is."""
    assert isinstance(weight, Tensor)
    assert weight.dtype == torch.float32
    kind = sum(name.encode()) % 5
    scales = weight.abs().amax(1) / 127
    values = (weight / scales[:, None]).round().to(torch.int8)
    if kind == 0:
        return QuantizedWeight("int8-dynamic", values, scales)
    if kind == 1:
        return QuantizedWeight("int8-static", values, scales, multiplier=torch.full((weight.shape[1],), 2.0))
    if kind == 2:
        return QuantizedWeight("int8-weight", values, scales[:, None])
    if kind == 3:
        numbers = (weight / weight.abs().amax(1, keepdim=True) * 7 + 8).round().to(torch.uint8)
        packed = numbers[:, ::2] | numbers[:, 1::2] << 4
        steps = weight.abs().amax(1, keepdim=True) / 7
        return QuantizedWeight("int4-weight", packed, steps, zeros=torch.full_like(steps, 8.0))
    return weight


def prepared(base: Path, folder: Path) -> Transform:
    """Prepares the model at `base`; returns the transform that gives the same weights to whoever loads the base."""
    made: dict[str, Weight] = {}

    def remember(name: str, weight: Weight) -> Weight:
        assert name not in made
        made[name] = rounded(name, weight)
        return made[name]

    with open_checkpoint(base) as checkpoint:
        prepare(checkpoint, "int8-dynamic", remember, folder)
    return lambda name, _: made[name]


def compare(base: Path, folder: Path, logits: Callable[[Path, Transform | None], Tensor]) -> None:
    again = prepared(base, folder)
    from_files, from_memory = logits(folder, None), logits(base, again)
    assert torch.equal(from_files, from_memory)
    assert not torch.equal(from_files, logits(base, None))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_decoders(family: str, tmp_path: Path) -> None:
    tiny.write_checkpoint(family, tmp_path / "base")

    def logits(path: Path, transform: Transform | None) -> Tensor:
        with open_checkpoint(path) as checkpoint:
            return decode(load_decoder(checkpoint, KERNELS, 200, transform=transform), [50, 90])

    compare(tmp_path / "base", tmp_path / "made", logits)
    assert len(TOKENS) == 90


@pytest.mark.parametrize("family", tiny_encoders.ENCODERS)
def test_classifiers(family: str, tmp_path: Path) -> None:
    tiny_encoders.write_encoder(family, tmp_path / "base", "AutoModelForSequenceClassification", num_labels=4)

    def logits(path: Path, transform: Transform | None) -> Tensor:
        with open_checkpoint(path) as checkpoint:
            encoder = load_encoder(checkpoint, KERNELS, 100, transform=transform)
            head = load_classifier(checkpoint, KERNELS, 4, transform)
        return head(encoder.forward(pack([TEXT], encoder.arch))[:1])

    compare(tmp_path / "base", tmp_path / "made", logits)


@pytest.mark.parametrize("family", tiny_seq2seq.FAMILIES)
def test_translators(family: str, tmp_path: Path) -> None:
    tiny_seq2seq.write_checkpoint(family, tmp_path / "base")

    def logits(path: Path, transform: Transform | None) -> Tensor:
        with open_checkpoint(path) as checkpoint:
            model = load_seq2seq(checkpoint, KERNELS, 100, 80, transform)
        return torch.cat(score(model, SOURCES, TARGETS, cached=True))

    compare(tmp_path / "base", tmp_path / "made", logits)


@pytest.mark.parametrize(
    ("family", "stored"),
    [
        ("marian", {"lm_head.weight": 1.0}),
        ("t5", {"lm_head.weight": 1.0}),
        ("m2m100", {"lm_head.weight": 1.0, "model.encoder.embed_tokens.weight": 1.0}),
        ("bart", {"model.encoder.embed_tokens.weight": 1.0, "model.decoder.embed_tokens.weight": 1.0}),
        ("mt5", {"lm_head.weight": -0.7}),
    ],
)
def test_translators_that_store_a_table_under_several_names(
    family: str, stored: dict[str, float], tmp_path: Path
) -> None:
    """Alike, or else one of its own. Their parts are measured, too."""
    tiny_seq2seq.write_checkpoint(family, tmp_path / "base")
    tensors = load_file(tmp_path / "base" / "model.safetensors")
    table = next(tensor for name, tensor in tensors.items() if name.endswith("shared.weight"))
    tensors |= {name: table * factor for name, factor in stored.items()}
    save_file(tensors, tmp_path / "base" / "model.safetensors")

    def logits(path: Path, transform: Transform | None) -> Tensor:
        with open_checkpoint(path) as checkpoint:
            model = load_seq2seq(checkpoint, KERNELS, 100, 80, transform)
        return torch.cat(score(model, SOURCES, TARGETS, cached=True))

    compare(tmp_path / "base", tmp_path / "made", logits)
    bytes_of = []
    for folder in (tmp_path / "base", tmp_path / "made"):
        with open_checkpoint(folder) as checkpoint:
            costs = measure_costs(checkpoint, "translation", KERNELS, threads=1)
        bytes_of.append(sum(part.bytes for part in (costs.first, *costs.layers, costs.last)))
    assert bytes_of[1] < bytes_of[0]


LOADS = """
import sys
from pathlib import Path
import torch
from engine.checkpoint import open_checkpoint
from engine.quantization.prepare import load_products

for path in sys.argv[1:]:
    with open_checkpoint(Path(path)) as checkpoint:
        load_products(checkpoint, torch.bfloat16, checkpoint.product)
    if "torch._dynamo" in sys.modules:
        raise SystemExit(path)
"""


def test_loading_does_not_import_the_compiler(tmp_path: Path) -> None:
    """Some of torch's functions do, for tensors without values; it takes longer than all the rest."""
    bases = []
    for family in tiny.FAMILIES:
        bases.append(tmp_path / f"decoder-{family}")
        tiny.write_checkpoint(family, bases[-1])
    for family in tiny_encoders.ENCODERS:
        bases.append(tmp_path / f"encoder-{family}")
        tiny_encoders.write_encoder(family, bases[-1], "AutoModelForSequenceClassification", num_labels=4)
    for family in tiny_seq2seq.FAMILIES:
        bases.append(tmp_path / f"seq2seq-{family}")
        tiny_seq2seq.write_checkpoint(family, bases[-1])
    folders = [base.with_name(f"{base.name}-made") for base in bases]
    for base, folder in zip(bases, folders, strict=True):
        prepared(base, folder)
    command = [sys.executable, "-c", LOADS, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


def test_quantized_tensors_are_stored_once_and_small(tmp_path: Path) -> None:
    tiny.write_checkpoint("llama", tmp_path / "base")
    prepared(tmp_path / "base", tmp_path / "made")
    sizes = [(tmp_path / side / "model.safetensors").stat().st_size for side in ("base", "made")]
    assert sizes[1] < sizes[0] / 2  # most are a quarter of fp32, some half
    with open_checkpoint(tmp_path / "base") as base, open_checkpoint(tmp_path / "made") as made:
        assert made.names() == base.names()
        assert all(made.shape(name) == base.shape(name) for name in base.names())


def test_the_precision_must_be_the_prepared_one(tmp_path: Path) -> None:
    tiny.write_checkpoint("llama", tmp_path / "base")
    prepared(tmp_path / "base", tmp_path / "made")
    with pytest.raises(CheckpointError, match="was prepared for int8-dynamic, not for bf16"):
        load_engine(tmp_path / "made", EngineConfig(precision="bf16"))
    with pytest.raises(CheckpointError, match="not prepared for int4-weight: `stageline quantize`"):
        load_engine(tmp_path / "base", EngineConfig(precision="int4-weight"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 0}, "format 0 is not the one of this version"),
        ({"precision": "int3"}, "damaged"),
        ({"products": {"layers.0.qkv": "int3"}}, "damaged"),
        ({"replaced": {"model.embed_tokens.weight": "wide"}}, "damaged"),
        ({"products": {}}, "has no weight for head"),
    ],
)
def test_damage_is_told(change: dict[str, object], complaint: str, tmp_path: Path) -> None:
    tiny.write_checkpoint("llama", tmp_path / "base")
    prepared(tmp_path / "base", tmp_path / "made")
    about = json.loads((tmp_path / "made" / FILE).read_text())
    (tmp_path / "made" / FILE).write_text(json.dumps({**about, **change}))
    with pytest.raises(CheckpointError, match=complaint), open_checkpoint(tmp_path / "made") as checkpoint:
        load_decoder(checkpoint, KERNELS, 200)


def missing(tensors: dict[str, Tensor], part: str) -> None:
    del tensors[part]


def empty(tensors: dict[str, Tensor], part: str) -> None:
    tensors[part] = tensors[part][:, :0]


def half(tensors: dict[str, Tensor], part: str) -> None:
    tensors[part] = tensors[part].half()


def too_low(tensors: dict[str, Tensor], part: str) -> None:
    tensors[part] = torch.full_like(tensors[part], -128)


@pytest.mark.parametrize(
    ("harm", "part", "complaint"),
    [
        (missing, "scales", "has no scales"),
        (missing, "values", "stageline"),
        (empty, "scales", r"scales \(\d+, 0\)"),
        (half, "scales", "stored as torch.float16, not as torch.float32"),
        (half, "values", "stored as torch.float16, not as torch.int8"),
        (too_low, "values", "some are -128"),
    ],
)
def test_damaged_weights_are_told(
    harm: Callable[[dict[str, Tensor], str], None], part: str, complaint: str, tmp_path: Path
) -> None:
    tiny.write_checkpoint("llama", tmp_path / "base")
    with open_checkpoint(tmp_path / "base") as base:
        recipe = Recipe("int8-weight", 8)
        prepare(
            base, "int8-weight", lambda name, weight: quantize(name, cast(Tensor, weight), recipe), tmp_path / "made"
        )
    file = tmp_path / "made" / "model.safetensors"
    tensors = load_file(file)
    harm(tensors, f"stageline.layers.1.down.{part}")
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=complaint), open_checkpoint(tmp_path / "made") as checkpoint:
        load_decoder(checkpoint, KERNELS, 200)


def test_only_what_is_known_is_copied(tmp_path: Path) -> None:
    tiny.write_checkpoint("llama", tmp_path / "base")
    for name in ("tf_model.h5", ".git/config", "1_Pooling/config.json", "LICENSE", "vocab.txt"):
        (tmp_path / "base" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "base" / name).write_text("{}")
    prepared(tmp_path / "base", tmp_path / "made")
    found = {str(path.relative_to(tmp_path / "made")) for path in (tmp_path / "made").rglob("*") if path.is_file()}
    assert {"1_Pooling/config.json", "LICENSE", "vocab.txt", "config.json", FILE, "model.safetensors"} <= found
    assert not found & {"tf_model.h5", ".git/config"}


def test_a_gguf_file_becomes_a_folder_with_its_tokenizer(tmp_path: Path) -> None:
    path = demo_gguf()
    prepared(path, tmp_path / "made")
    with open_checkpoint(path) as base, open_checkpoint(tmp_path / "made") as made:
        ours, theirs = made.tokenizer(), base.tokenizer()
        assert {**made.config, "quantization_config": None} == {**base.config, "quantization_config": None}
    for text in ("Hello,  world! 12345\n\n<|im_start|>user\nhi<|im_end|>", "na\u00efve \u2014 \u6f22\u5b57 \U0001f389"):
        assert ours.encode(text) == theirs.encode(text)
        assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text))
    for name in ("eos_token_ids", "bos_token_id", "chat_template", "special_tokens", "special_ids"):
        assert getattr(ours, name) == getattr(theirs, name)
