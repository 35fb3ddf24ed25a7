"""`stageline bench`: how fast it is here, as ratios measured in one run. The last line printed is JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deployments.cli.bench_tables import show, show_faults, show_pipeline, show_variants
from deployments.cli.evaluate import choose
from deployments.cli.fetch import ConfigArgument
from deployments.settings import DEMO_CONFIG, Settings, load_settings
from engine.errors import ConfigError

FAULTS_CONFIG = Path(__file__).parents[1] / "bench" / "faults.yaml"

FAULTS = ("stage killed", "stage frozen", "replica killed", "node killed", "link cut")

bench = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)

Streams = Annotated[int, typer.Option(min=1, help="Requests at once.")]
Tokens = Annotated[int, typer.Option(min=1, help="Tokens of each answer.")]
Prompt = Annotated[int, typer.Option(min=1, help="Tokens of each prompt.")]
Rounds = Annotated[int, typer.Option(min=1, help="Measurements of each; their median counts.")]
Choice = Annotated[str, typer.Option("--model", help="Which of the configuration's models, or model:variant.")]
Peers = Annotated[
    Path | None,
    typer.Option(help="Python of an environment that has the peers: measures them too, in the same run."),
]
Output = Annotated[Path | None, typer.Option(help="Also write the result here.")]


@bench.command("engine")
def engine(
    config: ConfigArgument = None,
    model: Choice = "",
    streams: Streams = 32,
    tokens: Tokens = 64,
    prompt: Prompt = 5,
    rounds: Rounds = 7,
    peers: Peers = None,
    output: Output = None,
) -> None:
    """The engine alone, in process: decoding, prefill, memory; with --peers against llama.cpp and OpenVINO GenAI."""
    from deployments.bench.run import Work, bench_engine

    console = Console(stderr=True)
    settings, work = load_settings(config or DEMO_CONFIG), Work(streams, tokens, prompt, rounds)
    result = bench_engine(settings, work, console, model, peers)
    facts = result["engine"]
    notes = {
        "kernels": facts["kernels"],
        "loaded in": f"{facts['load_s']:.1f} s",
        "weights": f"{facts['weight_bytes'] / 2**20:.0f} MiB",
        "peak memory of loading": f"{facts['weight_copies_at_peak']:.2f} copies of the weights",
    }
    show(result, notes, console, output)


@bench.command("http")
def http(
    config: ConfigArgument = None,
    model: Choice = "",
    streams: Streams = 32,
    tokens: Tokens = 64,
    prompt: Prompt = 5,
    rounds: Rounds = 7,
    output: Output = None,
) -> None:
    """The whole way through HTTP, against the engine in process and against transformers in fp32."""
    from deployments.bench.run import Work, bench_http

    console = Console(stderr=True)
    path = config or DEMO_CONFIG
    result = bench_http(load_settings(path), path, Work(streams, tokens, prompt, rounds), console, model)
    against = result["http_against_transformers"]
    notes = {
        "HTTP against in process": f"{result['http_share_of_in_process']:.0%}",
        "HTTP against transformers fp32, one at a time": f"{against:.1f}x" if against else "transformers not installed",
        "first token after ready": f"{result['first_token_after_ready_ms']:.0f} ms",
        "first token, median, all streams at once": f"{result['median_first_token_under_load_ms']:.0f} ms",
        "ready after": f"{result['seconds_to_ready']:.1f} s",
    }
    show(result, notes, console, output)


@bench.command("texts")
def texts(
    config: ConfigArgument = None,
    model: Choice = "",
    data: Annotated[
        Path | None, typer.Option(help="CSV file of text,label, or a file with a text or sentence a line.")
    ] = None,
    count: Annotated[int, typer.Option(min=64, help="How many of its texts.")] = 1000,
    rounds: Rounds = 5,
    peers: Peers = None,
    http: Annotated[bool, typer.Option(help="Also through a server of its own.")] = True,
    output: Output = None,
) -> None:
    """A classifier, an embedder or a translator: in process, through HTTP, and against its peers."""
    from cluster.node import available_cores
    from deployments.bench.texts import Job, bench_texts

    if data is None:
        raise ConfigError("What to measure with? Give a file with --data.")
    console = Console(stderr=True)
    path = config or DEMO_CONFIG
    settings = load_settings(path)
    if http:
        settings = settings.with_cores(available_cores())  # as the server does
    chosen, variant = choose(settings, model)
    result = bench_texts(settings, Job(chosen, variant, path, data, count, rounds, peers, http), console)
    show(result, {"mean tokens of a text": str(result["mean_tokens"])}, console, output, "texts")


@bench.command("variants")
def variants(
    config: ConfigArgument = None,
    model: Annotated[str, typer.Option(help="Which of the configuration's models.")] = "",
    data: Annotated[
        Path | None,
        typer.Option(help="CSV file of text,label, or a file with a text or sentence a line; none to generate."),
    ] = None,
    rounds: Rounds = 5,
    write: Annotated[
        bool, typer.Option("--write", help="Put the speeds into each variant's quality.json, and draw quality.png.")
    ] = False,
    output: Output = None,
) -> None:
    """All variants of a model beside fp32, in process: one request at a time, and 32 at once."""
    from cluster.node import available_cores
    from deployments.bench.variants import Trial, bench_variants, write_speeds

    console = Console(stderr=True)
    settings = load_settings(config or DEMO_CONFIG)
    chosen, _ = choose(settings, model)
    result = bench_variants(settings, Trial(chosen, data, rounds, available_cores()), console)
    if write:
        from deployments.cli.quantize import draw

        written = write_speeds(chosen, result)
        console.print(f"Written to quality.json of {len(written)} of {len(chosen.variants)} variants.")
        for folder, quality in {folder.parent: quality for folder, quality in written.items()}.items():
            draw(quality, folder, console)
    show_variants(result, console, output)


def generator_name(settings: Settings, asked: str) -> str:
    """The model that was asked for, or the first that generates text. Raises ConfigError."""
    names = [one.name for one in settings.models if one.task == "text-generation"]
    if not names or (asked and asked not in names):
        raise ConfigError(f"Which model? {', '.join(names) or 'None of this configuration'} can generate text.")
    return asked or names[0]


@bench.command("pipeline")
def pipeline(
    config: ConfigArgument = None,
    model: Choice = "",
    stages: Annotated[int, typer.Option(min=2, help="Stages, which share the cores that one process would have.")] = 2,
    balance: Annotated[
        str, typer.Option(help="Layers of each stage, as in 18,12; by default as their costs have it.")
    ] = "",
    nodes: Annotated[
        int, typer.Option(min=1, help="Nodes, each in a network namespace (needs root); 1 for this machine as it is.")
    ] = 1,
    streams: Streams = 32,
    tokens: Tokens = 64,
    prompt: Prompt = 5,
    rounds: Rounds = 7,
    output: Output = None,
    picture: Annotated[Path | None, typer.Option(help="Draw stages and batches over time here, as png or svg.")] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Write them here as a trace for chrome://tracing or ui.perfetto.dev.")
    ] = None,
) -> None:
    """A pipeline of stages against one process with the same cores: speed, what a hop takes, memory, the bubble."""
    from deployments.bench.pictures import require_matplotlib
    from deployments.bench.pipeline.run import Shape, bench_pipeline
    from deployments.bench.pipeline.timeline import write_pictures
    from deployments.bench.run import Work

    if picture is not None:
        require_matplotlib()
    try:
        layers = tuple(int(part) for part in balance.split(",")) if balance else None
    except ValueError:
        raise ConfigError(f"--balance {balance}: give whole numbers with commas, as in 18,12.") from None
    console = Console(stderr=True)
    shape = Shape(len(layers) if layers else stages, layers, nodes)
    settings = load_settings(config or DEMO_CONFIG)
    result = bench_pipeline(settings, Work(streams, tokens, prompt, rounds), shape, console, model)
    write_pictures(result, picture, trace)
    show_pipeline(result, console, output)


@bench.command("faults")
def faults(
    config: Annotated[
        Path | None, typer.Argument(help="Configuration file; two replicas of two stages of the demo's if left out.")
    ] = None,
    model: Annotated[str, typer.Option(help="Which of the configuration's models that generate text.")] = "",
    streams: Annotated[int, typer.Option(min=1, help="Streams at once.")] = 100,
    tokens: Tokens = 200,
    minutes: Annotated[float, typer.Option(min=0, help="Of losses at random, after each kind in turn.")] = 10.0,
    nodes: Annotated[int, typer.Option(min=2, help="The head, and those that may be lost.")] = 5,
    cpus: Annotated[int, typer.Option(min=1, help="CPUs of each node that Ray may give away.")] = 1,
    seed: Annotated[int, typer.Option(help="Of what is lost when.")] = 0,
    kind: Annotated[list[str] | None, typer.Option(help=f"Only this, as often as wanted: {', '.join(FAULTS)}.")] = None,
    output: Output = None,
    picture: Annotated[Path | None, typer.Option(help="Draw it here, as png or svg.")] = None,
) -> None:
    """Streams while stages, replicas, nodes and links are lost: is any token lost or changed, and how long do they
    stand still? Starts a cluster of real nodes, each in a network namespace (needs root)."""
    from deployments.bench.faults.injuries import KINDS
    from deployments.bench.faults.picture import draw
    from deployments.bench.faults.run import Trial, bench_faults
    from deployments.bench.node_server import check_here
    from deployments.bench.pictures import require_matplotlib

    check_here()
    if picture is not None:
        require_matplotlib()
    path = config or FAULTS_CONFIG
    settings = load_settings(path)
    name = generator_name(settings, model)
    console = Console(stderr=True)
    if unknown := set(kind or ()) - set(FAULTS):
        raise ConfigError(f"--kind {unknown.pop()}: known are {', '.join(FAULTS)}.")
    kinds = tuple(one for one in KINDS if not kind or one in kind)
    trial = Trial(name, streams, tokens, minutes, nodes, cpus, seed, kinds)
    result = bench_faults(settings, path, trial, console)
    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        draw(result, picture)
    show_faults(result, console, output)
    if result["lost"] or result["changed"] or result["left_over"]:
        raise typer.Exit(1)
