"""Stage workers without Ray, in threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest
import torch

from cluster.pipeline.clock import Phase
from cluster.pipeline.handshake import Membership, Place
from cluster.pipeline.link import LinkLimits, Listener, Receiver, Sender
from cluster.pipeline.stage import FAILED, PROBE, StageWorker
from engine.errors import CheckpointError
from engine.pipeline.message import Message
from tests.cluster.pipeline.stages import WIDTH, Adding, broken, matrix

HOST = "127.0.0.1"
LIMITS = LinkLimits(connect_s=20.0, silence_s=20.0, send_s=20.0)
WAIT_S = 20.0
ROWS = torch.arange(2.0 * WIDTH).reshape(2, WIDTH)


class Ring:
    """One worker between two ends that are here."""

    def __init__(self, worker: StageWorker, epoch: int, pool: ThreadPoolExecutor) -> None:
        membership = Membership.new()
        inward, outward = Place(membership, epoch, 0), Place(membership, epoch, 1)
        address = worker.listen(inward, HOST, LIMITS)
        listener = Listener(HOST, outward, LIMITS)
        self.serving: Future[str] = pool.submit(worker.serve, listener.address, outward, LIMITS)
        self.sender = Sender(address, inward, LIMITS)
        self.receiver: Receiver = listener.accept()
        self.sender.confirm()
        listener.close()

    def send(self, **meta: object) -> None:
        self.sender.send(self.sender.pack(Message("x", meta, (ROWS,))))

    def close(self) -> None:
        self.sender.close()
        self.receiver.close()


@pytest.fixture
def worker() -> StageWorker:
    worker = StageWorker()
    worker.load(partial(Adding, 3), 3, 1)
    return worker


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def pool(stack: ExitStack) -> ThreadPoolExecutor:
    return stack.enter_context(ThreadPoolExecutor(4))


def test_what_was_loaded_is_told() -> None:
    worker = StageWorker()
    loaded = worker.load(partial(Adding, 0), 0, 1)
    assert (loaded.weight_bytes, loaded.cache_bytes) == (WIDTH * WIDTH * 4, WIDTH * 4)
    assert 0 < loaded.rss_bytes <= loaded.peak_rss_bytes


def test_what_cannot_be_loaded_raises() -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        StageWorker().load(broken, 0, 1)


def test_batches_are_computed_in_order(worker: StageWorker, stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    ring = Ring(worker, 1, pool)
    stack.callback(ring.close)
    ring.send(n=1)
    ring.send(n=2)
    for n in (1, 2):
        answer = ring.receiver.receive()
        assert answer.meta == {"n": n}
        assert torch.equal(answer.tensors[0], ROWS @ matrix(3) + n * ROWS.sum(0))


def test_a_batch_that_fails_is_answered_in_its_place(
    worker: StageWorker, stack: ExitStack, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    """With the error's type alone: what it says is for the stage's own log."""
    ring = Ring(worker, 1, pool)
    stack.callback(ring.close)
    ring.send(fail_at=3)
    ring.sender.send(ring.sender.pack(Message(FAILED, {"stage": 0, "error": "Before"}, ())))
    ring.send(n=1)
    bad, earlier, good = (ring.receiver.receive() for _ in range(3))
    assert (bad.kind, bad.meta) == (FAILED, {"stage": 3, "error": "ValueError"})
    assert "ValueError: this batch is bad" in caplog.text
    assert earlier.meta == {"stage": 0, "error": "Before"}, "what failed at another stage passes untouched"
    assert good.kind == "x"


def test_a_result_that_cannot_be_sent_is_a_failure(
    stack: ExitStack, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(Adding):
        def run(self, message: Message) -> Message:
            return Message("x", {"a": object()}, ())

    worker = StageWorker()
    worker.load(lambda: Wrong(0), 0, 1)
    ring = Ring(worker, 1, pool)
    stack.callback(ring.close)
    ring.send()
    assert ring.receiver.receive().meta == {"stage": 0, "error": "FrameError"}
    assert "what JSON cannot" in caplog.text


def test_serving_ends_with_its_links(worker: StageWorker, pool: ThreadPoolExecutor) -> None:
    ring = Ring(worker, 1, pool)
    ring.close()
    assert "gone" in ring.serving.result(WAIT_S)
    assert worker.beat().phase is Phase.IDLE


def test_the_next_epoch_ends_the_one_before(worker: StageWorker, stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    first = Ring(worker, 1, pool)
    stack.callback(first.close)
    first.send()
    first.receiver.receive()
    second = Ring(worker, 2, pool)
    stack.callback(second.close)
    assert first.serving.result(WAIT_S) in ("epoch 1 is over", "the link was closed here")
    second.send()
    assert torch.equal(second.receiver.receive().tensors[0], ROWS @ matrix(3) + 2 * ROWS.sum(0)), "the stage stays"
    with pytest.raises(ValueError, match="epoch 2 comes after epoch 2"):
        worker.listen(Place(Membership.new(), 2, 0), HOST, LIMITS)


def test_a_probe_is_passed_on_and_is_no_batch(worker: StageWorker, stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    worker.trace(True)
    ring = Ring(worker, 1, pool)
    stack.callback(ring.close)
    ring.sender.send(ring.sender.pack(Message(PROBE, {}, ())))
    assert ring.receiver.receive().kind == PROBE
    ring.close()
    ring.serving.result(WAIT_S)
    assert (worker.beat().batches, worker.take_trace()) == (0, [])


def test_no_call_stays_behind_a_long_batch(stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    """A process answers only so many at once."""
    inside, go_on = threading.Event(), threading.Event()
    stack.callback(go_on.set)

    class Slow(Adding):
        def run(self, message: Message) -> Message:
            inside.set()
            assert go_on.wait(WAIT_S)
            return super().run(message)

    worker = StageWorker()
    worker.load(lambda: Slow(0), 0, 1)
    assert worker.free(WAIT_S)
    first = Ring(worker, 1, pool)
    stack.callback(first.close)
    first.send()
    assert inside.wait(WAIT_S)
    membership = Membership.new()
    for epoch in (2, 3):
        worker.listen(Place(membership, epoch, 0), HOST, LIMITS)
        assert not worker.free(0.01)
        if epoch == 2:
            assert first.serving.result(WAIT_S) == "epoch 1 is over"
            waiting = pool.submit(worker.serve, (HOST, 1), Place(membership, 2, 1), LIMITS)
    assert waiting.result(WAIT_S) == "epoch 2 is over"
    go_on.set()
    assert worker.free(WAIT_S)
    last = Ring(worker, 4, pool)
    stack.callback(last.close)
    last.send(n=1)
    assert last.receiver.receive().meta == {"n": 1}


def test_serving_an_epoch_that_is_over_ends_at_once(worker: StageWorker, stack: ExitStack) -> None:
    worker.listen(Place(Membership.new(), 5, 0), HOST, LIMITS)
    listener = Listener(HOST, Place(Membership.new(), 4, 1), LIMITS)
    stack.callback(listener.close)
    assert worker.serve(listener.address, Place(Membership.new(), 4, 1), LIMITS) == "epoch 4 is over"


def test_beats_come_while_a_batch_is_computed(stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Slow(Adding):
        def run(self, message: Message) -> Message:
            inside.set()
            assert go_on.wait(WAIT_S)
            return message

    worker = StageWorker()
    worker.load(lambda: Slow(0), 0, 1)
    worker.trace(True)
    ring = Ring(worker, 1, pool)
    stack.callback(ring.close)
    ring.send()
    assert inside.wait(WAIT_S)
    beat = worker.beat()
    assert (beat.epoch, beat.number, beat.phase, beat.batches) == (1, 0, Phase.BUSY, 0)
    go_on.set()
    ring.receiver.receive()
    ring.close()
    ring.serving.result(WAIT_S)
    beat = worker.beat()
    assert (beat.batches, beat.phase) == (1, Phase.IDLE)
    assert beat.rss_bytes > 0
    (batch,) = worker.take_trace()
    assert (batch.number, batch.kind, batch.rows) == (0, "x", 2)
    assert batch.received <= batch.started <= batch.computed <= batch.sent


def test_all_is_computed_on_the_thread_that_loaded(stack: ExitStack, pool: ThreadPoolExecutor) -> None:
    threads: list[int] = []

    class Noting(Adding):
        def run(self, message: Message) -> Message:
            threads.append(threading.get_ident())
            return message

    def make() -> Noting:
        threads.append(threading.get_ident())
        return Noting(0)

    worker = StageWorker()
    worker.load(make, 0, 1)
    for epoch in (1, 2):
        ring = Ring(worker, epoch, pool)
        stack.callback(ring.close)
        ring.send()
        ring.receiver.receive()
    assert (len(threads), len(set(threads))) == (3, 1)
