"""What `docs/benchmarks.md` says around the figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEAD = """# Benchmarks

Made by `stageline benchmark docs` from the results in [loadtest/results](../loadtest/results), each of which has its
configuration, its scenarios and every request (or what came of them, where requests are many). Do not edit. The line
above each table has the command that repeats it.
Only whole runs with the standard arguments are shown, the newest of each kind.

| word | meaning |
|---|---|
| caller | asks, waits for the whole answer, and asks again |
| TTFT, TPOT | time to the first token; time for each token after it |
| p50, p99 | half of the requests took no longer; 99 of 100 took no longer |
| fp32, bf16, Q4_1 | weights in 32 bits, in 16, in 4 |
| int8-dynamic | weights in 8 bits, and activations rounded to 8 bits as they come |
| replica, stage | a process that serves a model; one of several that share its layers and pass on what they computed |
| front door, head | the process that takes requests; the node that it runs on, without a model |
| objective, goodput | what latencies a load is promised; the share of all requests that kept it |
"""

TABLE = """## Baseline against optimized

`make bench` runs it in under 15 minutes on 2 cores: all servers are up, one is asked at a time, round after round,
another one first in each. Everything goes over HTTP, by the load harness ([how](load-testing.md)), which runs on the
same cores. The article's figures come from other models on another machine: only its ratios can be held against ours.

- **baseline** is the way a team starts: Ray Serve with its own defaults, `transformers` in fp32, one request at a time,
  others waiting in its replica, with as many threads as each model is fastest with
  (`deployments/benchmark/baseline.py`).
- **optimized** is Stageline with `deployments/benchmark/optimized.yaml`: int8-dynamic, requests computed together.
- Both read the same files, and get the same requests in a round, others in each. A generator must answer with exactly
  the tokens that were asked for, by its `usage`; it is checked that classifiers and generators read as many as well.
- Rates count from the first request sent to the last answer. Latency is from sending to the whole answer; the figure is
  a round's median. A ratio is the median of the rounds' ratios, with the interval in which that is with 95% (from the
  second least of nine rounds to the second most). It is above the article's where the whole interval is; where the
  article's lies within, they are not told apart.
- The article does not say how long its texts are: lines (about 12 words) and letters (about 100) are both held against
  its figure for classification.
- The baseline gets as many of the callers as it answers in half a round, at least two (of several). It answers one
  at a time: the others would only wait. That callers do not slow it down is checked against its rate with one.
- Quality: how the answers of this run agree with the baseline's, then what was measured before on the files that are
  named ([how](quantization.md)).
"""

COST = """## What a million costs

Where an hour of the whole machine costs P, a million tokens or sentences cost P times the figure below, if it is busy
all the time; divide by the share of the time in which it is. (Scaling aims at 60% to 80%.) From the medians of the
table above, on its machine, where the client has the same cores: so it is rather too much.
"""

NODES = """## On several nodes

Real Ray nodes, each in a network namespace of its own, that share this machine's cores: more nodes bring no more cores.
But several processes with one thread each may do more than one with several, so that a share may be above 100%. The
answers are streamed, and rates are of the time after a warm-up: they cannot be compared with those of the table above.

"Threads" are nodes x threads of each; "cores" are each node's own, or shared by all where they cannot be divided. A
replica's own process (the driver) runs on one of the nodes, and leads its stages. Shapes come in order and in reverse,
round about.
"""

SCALING = """## Loads that change

With `deployments/benchmark/scaling.yaml`: two variants of a model on the same cores, of which one takes all requests:
the faster one while the best cannot keep the objective. The generator's run always; the others' faster ones start when
they are needed. (With a generator's that had to start, a step to 610 tokens/s was within the objective for 43% of the
requests at commit 8663f1d6fd: where both cores are busy a start took half a minute.)
"""

FAULTS = """## A node killed at the peak

With `deployments/benchmark/faults.yaml`. That no token of any stream is lost or changed by a fault is what `stageline
bench faults` shows ([how](pipeline.md)).
"""

OVERHEAD = """## Seeing inside and keeping out

Three Stagelines with the same models, asked in short turns, and others in each round. One has nothing of it. One has
all of it as it is by default: API keys that have limits, logs as JSON with a line for requests that miss their
objective, at most two requests a second traced and their spans sent to a collector on the same machine, and `/metrics`
read every 15 s. The third has a line in the log and a trace of every request, which for requests of a few milliseconds
is much. (Metrics are always kept; the comparison of live answers, `drift`, costs what its share says.)

Of each server it is told how fast it answers, and what share of that would be left if the time that its processes have
a core were all that counts, less what they take while nobody asks. Two things hardly show: metrics are read once a
round, which a median leaves out, and in a turn of generation all requests come at once, of which one is traced.
"""

AGREEMENT = """## Our client and others

Figures of the load harness against those of other load clients on the same server
([how](load-testing.md#held-against-other-clients)).
"""

TRANSFER = """## What does not transfer to other machines

- **Absolute figures.** They swing by a factor of two where a machine is shared with others. Ratios come from one run,
  with servers in turn.
- **Ratios of int8.** They depend on the processor's instructions for it: {instructions}.
- **The size of the models.** They are small: of a short text's latency a large part is the way through HTTP and
  processes, which a larger model would hide. Batching gains more where reading the weights is what takes time.
- **The client shares the cores.** {cores} it takes some from the server that it measures, more from the faster one.
  Where it may (root), it goes before the server on them, as on a machine of its own; else its wait for a core is part
  of what it tells.
- **GPUs.** Nothing was measured on one.

Run it on yours: `make bench`.
"""


def transfer(result: Mapping[str, Any] | None) -> str:
    """With the facts of the machine on which the table was measured; None: there is none yet."""
    if result is None:
        return TRANSFER.format(instructions="VNNI or AMX, where it has them", cores="On few cores")
    flags = str(result["processor"]).split()
    vnni = [name for flag, name in (("avx512_vnni", "AVX-512 VNNI"), ("avx_vnni", "AVX-VNNI")) if flag in flags]
    here = vnni + (["AMX"] if "amx_int8" in flags else [])
    told = " and ".join(here) + " here; less is gained without" if here else "none of VNNI and AMX here"
    return TRANSFER.format(instructions=told, cores=f"On {result['cores']} cores")
