"""How a process that computes uses its cores."""

from __future__ import annotations


def thread_environment(threads: int) -> dict[str, str]:
    """Variables of a process with so many threads, to be set before torch is imported.

    What torch does in parallel by itself, a large copy say, leaves OpenMP's threads looking for more work for some
    milliseconds, on the very cores that the kernels' own loop (docs/adr/0002) needs next. With two threads a text of
    110 tokens took 9.5 ms, and 5.9 ms where they sleep at once; one thread took 9.3 ms.
    """
    return {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
