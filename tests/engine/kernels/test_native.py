"""The C++ kernels against torch's, and row by row against themselves in other company."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.batch import Batch, Span, build_batch
from engine.kernels import CacheBlocks, Heads, HeadSetup, Kernels, TorchKernels
from engine.kernels.base import Activation
from engine.kernels.native import NativeKernels
from engine.kernels.operators import ACTIVATIONS, load

pytestmark = pytest.mark.skipif(not load(), reason="no C++ compiler: the native kernels are not in use here")

CPU = torch.device("cpu")
AMX = bool(load() and torch.ops.stageline.has_amx())
DOT = bool(load() and torch.ops.stageline.has_dot())
BF16 = [NativeKernels(torch.bfloat16, amx=False)]
BF16 += [NativeKernels(torch.bfloat16, amx=False, dot=True)] * DOT + [NativeKernels(torch.bfloat16, amx=True)] * AMX
ALL = [NativeKernels(torch.float32, amx=False), *BF16]


def name(kernels: Kernels) -> str:
    parts = [str(kernels.dtype).removeprefix("torch."), *(part for part in ("amx", "dot") if getattr(kernels, part))]
    return "-".join(parts)


def close(a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype) -> None:
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(a.float(), b.float(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kernels", ALL, ids=name)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(1, 32, 32), (17, 70, 100), (5, 51, 40), (48, 300, 33), (100, 96, 160)]
)
def test_packed_linear(kernels: NativeKernels, activation: Activation, rows: int, inputs: int, outputs: int) -> None:
    torch.manual_seed(rows)
    weight, bias = torch.randn(outputs, inputs) / inputs**0.5, torch.randn(outputs)
    x = torch.randn(rows, inputs).to(kernels.dtype)
    ours = kernels.linear(weight, bias)
    exact = TorchKernels(torch.float32, CPU).linear(weight.to(kernels.dtype).float(), bias)
    close(ours(x, activation), exact(x.float(), activation), kernels.dtype)
    torch.testing.assert_close(ours.logits(x), exact(x.float()), atol=1e-5, rtol=1e-5)
    hidden = torch.randn(rows, outputs)
    expected = hidden + exact(x.float())
    ours.add_to(hidden, x)
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernels", ALL, ids=name)
def test_tied_embedding_is_the_weight(kernels: NativeKernels) -> None:
    weight = torch.randn(70, 40).to(kernels.dtype)
    embedding, head = kernels.tied_embedding(weight, scale=2.0)
    assert torch.equal(embedding(torch.arange(70)), 2 * weight.float())
    x = torch.randn(3, 40).to(kernels.dtype)
    torch.testing.assert_close(head.logits(x), x.float() @ weight.float().T, atol=1e-4, rtol=1e-4)
    with pytest.raises(RuntimeError, match="out of range"):
        embedding(torch.tensor([96]))


@pytest.mark.parametrize("kernels", ALL, ids=name)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("width", [48, 40, 20])
def test_gate(kernels: Kernels, activation: Activation, width: int) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(2 * width, 64) / 8, torch.randn(9, 64).to(kernels.dtype)
    exact = TorchKernels(torch.float32, CPU).gate(weight.to(kernels.dtype).float(), activation)
    close(kernels.gate(weight, activation)(x), exact(x.float()), kernels.dtype)


@pytest.mark.parametrize("kernels", ALL, ids=name)
@pytest.mark.parametrize("rows", [1, 70, 300])
def test_norms(kernels: NativeKernels, rows: int) -> None:
    hidden, weight, bias = torch.randn(rows, 72) * 5 + 1, torch.randn(72), torch.randn(72)
    exact = TorchKernels(torch.float32, CPU)
    for dtype in (kernels.dtype, torch.float32):
        close(kernels.rms_norm(hidden, weight, 1e-6, dtype), exact.rms_norm(hidden, weight, 1e-6, torch.float32), dtype)
        for b in (bias, None):
            ours = kernels.layer_norm(hidden, weight, b, 1e-5, dtype)
            close(ours, exact.layer_norm(hidden, weight, b, 1e-5, torch.float32), dtype)


@pytest.mark.parametrize("kernels", ALL, ids=name)
@pytest.mark.parametrize(("rows", "width"), [(1, 8), (70, 72), (300, 33)])
def test_the_residual_stream_comes_out_of_tables(kernels: NativeKernels, rows: int, width: int) -> None:
    exact = TorchKernels(kernels.dtype, CPU)
    weight, table = torch.randn(50, width), torch.randn(20, width)
    ids, places = torch.randint(50, (rows,)), torch.randint(20, (rows,))
    hidden, expected = kernels.embedding(weight, 2.0)(ids), exact.embedding(weight, 2.0)(ids)
    assert torch.equal(hidden, expected)
    kernels.add_rows(hidden, table, places)
    exact.add_rows(expected, table, places)
    assert torch.equal(hidden, expected)
    hidden[0, 0] = torch.nan
    expected[0, 0] = torch.nan
    narrowed = kernels.narrow(hidden)
    assert narrowed.dtype == kernels.dtype
    torch.testing.assert_close(narrowed, exact.narrow(expected), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("outside", [-1, 20])
def test_a_row_outside_a_table_is_an_error(outside: int) -> None:
    kernels, ids, table = ALL[0], torch.tensor([3, outside]), torch.zeros(20, 4)
    with pytest.raises(IndexError, match=f"row {outside} of a table of 20"):
        kernels.add_rows(torch.zeros(2, 4), table, ids)
    with pytest.raises(IndexError, match=f"row {outside} of a table of 20"):
        kernels.embedding(table)(ids)


def spans_of(lengths: list[tuple[int, int]], block: int) -> tuple[list[Span], int]:
    """Spans of (tokens before, new tokens) with blocks in scrambled order, and the number of blocks."""
    needs = [-(-(start + fresh) // block) for start, fresh in lengths]
    order = torch.randperm(sum(needs), generator=torch.Generator().manual_seed(1)).tolist()
    spans = []
    for (start, fresh), need in zip(lengths, needs, strict=True):
        spans.append(Span([0] * fresh, start, order[:need]))
        order = order[need:]
    return spans, sum(needs)


def fill(kernels: Kernels, heads: Heads, setup: HeadSetup, spans: list[Span], cache: CacheBlocks, seed: int) -> None:
    """Writes the tokens before each span, which depend on the seed and their position."""
    for i, span in enumerate(spans):
        if span.start:
            past = build_batch([Span([0] * span.start, 0, span.blocks)], cache.block_size)
            kernels.write_heads(random_qkv(kernels, heads, span.start, seed + i), heads, setup, cache, past)


def random_qkv(kernels: Kernels, heads: Heads, tokens: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, (heads.query + 2 * heads.kv) * heads.width, generator=generator).to(kernels.dtype)


SETUPS = {
    "rotary": HeadSetup(cos=torch.rand(512, 8), sin=torch.rand(512, 8)),
    "normed": HeadSetup(cos=torch.rand(512, 8), sin=torch.rand(512, 8), q_norm=torch.rand(24), k_norm=torch.rand(24)),
    "plain": HeadSetup(),
}


@pytest.mark.parametrize("kernels", ALL, ids=name)
@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("heads", [Heads(4, 4, 24), Heads(9, 3, 24), Heads(8, 1, 24)], ids=str)
def test_attention_over_the_cache(kernels: Kernels, setup: str, heads: Heads) -> None:
    lengths = [(0, 1), (0, 40), (31, 1), (64, 1), (100, 20), (33, 7)]
    spans, blocks = spans_of(lengths, 32)
    batch = build_batch(spans, 32)
    qkv = random_qkv(kernels, heads, len(batch.tokens), 9)

    def run(one: Kernels) -> torch.Tensor:
        cache = one.make_cache(blocks, 32, heads)
        fill(one, heads, SETUPS[setup], spans, cache, seed=0)
        mine = qkv.to(one.dtype)  # a copy unless the dtype is the same
        mine = mine.clone()
        one.write_heads(mine, heads, SETUPS[setup], cache, batch)
        return one.attention(mine, heads, cache, batch)

    close(run(kernels), run(TorchKernels(kernels.dtype, CPU)), kernels.dtype)


@pytest.mark.parametrize("kernels", ALL, ids=name)
def test_small_blocks(kernels: Kernels) -> None:
    heads, setup = Heads(4, 2, 24), SETUPS["rotary"]
    spans, blocks = spans_of([(0, 9), (5, 4)], 4)
    batch = build_batch(spans, 4)
    results = []
    for one in (kernels, TorchKernels(kernels.dtype, CPU)):
        cache = one.make_cache(blocks, 4, heads)
        fill(one, heads, setup, spans, cache, seed=3)
        qkv = random_qkv(one, heads, 13, 5)
        one.write_heads(qkv, heads, setup, cache, batch)
        results.append(one.attention(qkv, heads, cache, batch))
    close(results[0], results[1], kernels.dtype)


@pytest.mark.parametrize("kernels", ALL, ids=name)
@settings(max_examples=15, deadline=None)
@given(neighbours=st.lists(st.tuples(st.integers(0, 70), st.integers(1, 40)), max_size=5), place=st.integers(0, 5))
def test_attention_does_not_see_its_neighbours(kernels: Kernels, neighbours: list[tuple[int, int]], place: int) -> None:
    heads, setup, mine = Heads(6, 2, 24), SETUPS["rotary"], (50, 13)
    at = min(place, len(neighbours))

    def run(lengths: list[tuple[int, int]], which: int) -> torch.Tensor:
        spans, blocks = spans_of(lengths, 32)
        cache = kernels.make_cache(blocks, 32, heads)
        cache.values.fill_(float("nan"))  # what others left behind
        fill(kernels, heads, setup, spans, cache, seed=7 - which)  # the seed of `mine` is 7 wherever it stands
        batch: Batch = build_batch(spans, 32)
        parts = [random_qkv(kernels, heads, fresh, 100 if i == which else i) for i, (_, fresh) in enumerate(lengths)]
        qkv = torch.cat(parts)
        kernels.write_heads(qkv, heads, setup, cache, batch)
        start, end = batch.query_start[which : which + 2].tolist()
        return kernels.attention(qkv, heads, cache, batch)[start:end]

    alone = run([mine], 0)
    assert alone.isfinite().all()
    assert torch.equal(run([*neighbours[:at], mine, *neighbours[at:]], at), alone)


@pytest.mark.parametrize("kernels", ALL, ids=name)
@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 70), at=st.integers(0, 69))
def test_a_row_of_a_product_does_not_see_the_others(kernels: NativeKernels, rows: int, at: int) -> None:
    torch.manual_seed(3)
    linear, gate = kernels.linear(torch.randn(96, 80)), kernels.gate(torch.randn(96, 80), "silu")
    x = torch.randn(70, 80).to(kernels.dtype)
    start = min(at, 70 - rows)
    some = x[start : start + rows].contiguous()
    assert torch.equal(linear(some), linear(x)[start : start + rows])
    assert torch.equal(gate(some), gate(x)[start : start + rows])


def test_loops_of_several_threads_at_once_stay_apart() -> None:
    kernels = ALL[0]
    weight, x = torch.randn(512, 64), torch.randn(8, 64)
    linear = kernels.linear(weight)
    expected = linear.logits(x)
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(i for i in range(300) if not torch.equal(linear.logits(x), expected))

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        torch.set_num_threads(before)
    assert not wrong


def test_without_a_compiler_there_is_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.kernels import build

    monkeypatch.setenv("STAGELINE_KERNELS", "0")
    assert build.library() is None


def test_a_failing_compiler_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path, caplog) -> None:  # type: ignore[no-untyped-def]
    from engine.kernels import build

    monkeypatch.setenv("STAGELINE_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "false")
    assert build.library() is None
    assert "could not compile" in caplog.text
    assert not list(tmp_path.rglob("*.so"))


def test_a_library_that_cannot_be_loaded_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path, caplog) -> None:  # type: ignore[no-untyped-def]
    from engine.kernels import build

    damaged = tmp_path / "stageline.so"
    damaged.write_bytes(b"not a library")
    monkeypatch.setattr(build, "library", lambda: damaged)
    assert not load.__wrapped__()
    assert "could not load" in caplog.text
