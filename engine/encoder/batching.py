"""Which waiting texts run next, and whether to wait for more. Pure functions; batches are counted in tokens."""

from __future__ import annotations

from collections.abc import Iterable

PATIENCE_S = 0.002
LEAST_SHARE = 128  # tokens of a batch that is not worth cutting: halves of it would take about as long as the whole


def batch_size(sizes: Iterable[int], max_tokens: int, max_texts: int) -> int:
    """How many texts from the front of the queue make the next batch; `sizes` are their tokens, in queue order.

    A text larger than `max_tokens` runs alone. None is passed over for a smaller one behind it, so that none starves.
    """
    total = count = 0
    for size in sizes:
        if count == max_texts or (count and total + size > max_tokens):
            break
        total += size
        count += 1
    return count


def fair_share(waiting: int, batches: int, max_tokens: int) -> int:
    """How many tokens the next batch may have when so many wait and so many `batches` can be begun at once.

    Batches of a kind keep all stages busy; but a few short texts are one batch.
    """
    return min(max_tokens, max(LEAST_SHARE, -(-waiting // batches)))


def patience(queued: int, full: bool, last_batch: int, since_last_s: float, under_way: bool = False) -> float:
    """Seconds to wait for more texts before the `queued` ones run.

    Callers whose answers have just gone out tend to ask again at once, but one after another: the first of them would
    run alone, and the others wait for it. So after a batch of several texts the next one waits until as many are there,
    `PATIENCE_S` at most. A `full` batch does not wait, nor does anything when the last batch (of `last_batch` texts,
    which ended `since_last_s` ago) was a single text or is long past: an idle engine answers at once.

    While other batches are `under_way`, those who were just answered get the same time with nothing queued: the first
    stage would otherwise have nothing to do until the next batch is answered.
    """
    if not queued:
        return max(0.0, PATIENCE_S - since_last_s) if under_way else 0.0
    if full or last_batch <= 1 or queued >= last_batch:
        return 0.0
    return max(0.0, PATIENCE_S - since_last_s)
