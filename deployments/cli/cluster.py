"""`stageline cluster`: real Ray nodes on this machine, each in a network namespace of its own, to lose on purpose."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Table

from cluster.node import available_cores
from cluster.nodes.local_cluster import HEAD, LocalCluster, local_cluster
from cluster.nodes.membership import alive_nodes
from deployments.cli.cluster_state import find_cluster, listed
from deployments.cli.signals import Stopped, stopping
from deployments.serving import local_environment
from engine.errors import ConfigError, EngineFailed

_CHECK_S = 0.5

cluster = typer.Typer(
    help="A cluster of real Ray nodes on this machine, each in a network namespace of its own (Linux, root).",
    no_args_is_help=True,
)

Node = Annotated[str, typer.Argument(help="A node's name, as `stageline cluster status` shows it.")]
Other = Annotated[str | None, typer.Argument(help="Only the way between the two; the rest of the network stays.")]
Address = Annotated[str | None, typer.Option(help="Which cluster, where several run.")]


@cluster.command()
def up(
    nodes: Annotated[int, typer.Option(min=1, max=32, help="How many, the head among them.")] = 3,
    cpus: Annotated[
        int | None,
        typer.Option(min=1, help="Cores that Ray may hand out on each node; may exceed what there is."),
    ] = None,
    redis: Annotated[bool, typer.Option("--redis", help="Keep the head's state in Redis, to survive it.")] = False,
    supervise: Annotated[bool, typer.Option(help="Start nodes, and a GCS, again that ended by themselves.")] = True,
) -> None:
    """Start a cluster, and end it with Ctrl-C."""
    console = Console(stderr=True)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=console)])
    logging.getLogger("cluster.nodes").setLevel(logging.INFO)
    with stopping():
        try:
            with (
                console.status("Starting the nodes ...") as spinner,
                local_cluster(
                    nodes,
                    cpus=cpus or available_cores(),
                    environment=local_environment,
                    redis=redis,
                    supervise=supervise,
                ) as running,
                listed(
                    running.address,
                    running.folder,
                    {name: node.namespace for name, node in running.nodes.items()},
                    dict(running.environment),
                    lambda action, arguments: perform(running, action, arguments),
                ),
            ):
                spinner.stop()
                _show(running, console)
                while True:
                    time.sleep(_CHECK_S)
        except Stopped as stopped:
            console.print("Stopped.")
            raise typer.Exit(stopped.exit_status) from None


@cluster.command()
def status(address: Address = None) -> None:
    """Show the nodes: where they are, and whether the head holds them for alive."""
    Console().print(nodes_table(find_cluster(address).ask("status")))


@cluster.command()
def cut(node: Node, other: Other = None, address: Address = None) -> None:
    """Pull a node's cable, or lose all that two nodes send each other: no connection is closed, packets vanish."""
    find_cluster(address).ask("cut", name=node, other=other)


@cluster.command()
def restore(node: Node, other: Other = None, address: Address = None) -> None:
    """Undo `cut` and `slow`."""
    find_cluster(address).ask("restore", name=node, other=other)


@cluster.command()
def slow(
    node: Node,
    ms: Annotated[float, typer.Option(min=0, help="Milliseconds that a round trip takes longer; 0 ends it.")],
    jitter: Annotated[float, typer.Option(min=0, help="Milliseconds by which that varies.")] = 0.0,
    address: Address = None,
) -> None:
    """Make a node's network slow."""
    find_cluster(address).ask("slow", name=node, delay_ms=ms, jitter_ms=jitter)


@cluster.command()
def kill(
    node: Node,
    gcs: Annotated[bool, typer.Option("--gcs", help="Of the head only its GCS; its raylet goes on.")] = False,
    address: Address = None,
) -> None:
    """Kill all processes of a node, as if it lost its power. It stays away until `start`."""
    find_cluster(address).ask("kill", name=node, gcs=gcs)


@cluster.command()
def stop(node: Node, address: Address = None) -> None:
    """Take a node away on purpose: it tells the head, and ends."""
    find_cluster(address).ask("stop", name=node)


@cluster.command()
def start(node: Node, address: Address = None) -> None:
    """Start a node that was killed or stopped."""
    find_cluster(address).ask("start", name=node)


@cluster.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    node: Annotated[str, typer.Option(help="On which node.")] = HEAD,
    address: Address = None,
) -> None:
    """Run a program inside a node's namespace: `stageline cluster run -- ray status`."""
    state = find_cluster(address)
    if not context.args:
        raise ConfigError("Say what to run: stageline cluster run -- PROGRAM ARGUMENTS")
    command = state.ask("command", name=node, argv=context.args)
    environment = {**os.environ, **state.environment, "RAY_ADDRESS": state.address}
    try:
        raise typer.Exit(subprocess.run(command, env=environment, check=False).returncode)
    except OSError as error:
        raise EngineFailed(f"{context.args[0]} could not be run: {error}.") from error


def perform(running: LocalCluster, action: str, arguments: dict[str, Any]) -> Any:
    """What the commands ask the owner for."""
    match action:
        case "status":
            return node_states(running)
        case "command":
            return running.node(arguments["name"]).place.command(*arguments["argv"])
        case "cut":
            running.cut(**arguments)
        case "restore":
            running.restore(**arguments)
        case "slow":
            running.slow(**arguments)
        case "kill":
            if arguments["gcs"] and arguments["name"] != HEAD:
                raise ConfigError(f"Only {HEAD} has a GCS.", param="gcs")
            if arguments["gcs"]:
                running.kill_gcs()
            else:
                running.kill_node(arguments["name"])
        case "stop":
            running.stop_node(arguments["name"])
        case "start":
            running.start_node(arguments["name"])
        case _:
            raise ConfigError(f"Nothing is called {action}.")
    return None


def node_states(running: LocalCluster) -> list[dict[str, Any]]:
    """A line for each node."""
    try:
        alive = set(alive_nodes(running.address, running.environment, limit_s=3.0))
    except EngineFailed:
        alive = set()  # nobody knows better without the head
    return [
        {
            "node": node.name,
            "address": node.ip,
            "namespace": node.namespace,
            "cpus": node.cpus,
            "processes": len(node.processes()),
            "cable": running.network.cable_state(node.name),
            "alive": node.ip in alive,
        }
        for node in running.nodes.values()
    ]


def nodes_table(nodes: list[dict[str, Any]]) -> Table:
    """For people."""
    table = Table("node", "address", "namespace", "CPUs", "processes", "cable", "alive", box=None, padding=(0, 2, 0, 0))
    for node in nodes:
        shown = (node["cpus"], node["processes"], node["cable"], "yes" if node["alive"] else "[red]no[/]")
        table.add_row(node["node"], node["address"], node["namespace"], *map(str, shown))
    return table


def _show(running: LocalCluster, console: Console) -> None:
    console.print(nodes_table(node_states(running)))
    lines = [
        "",
        "In another terminal:",
        f"  stageline serve --address local            ({running.address})",
        "  stageline cluster cut node-1       (restore, slow, kill, start, stop; status shows what became of it)",
        "  stageline cluster run -- ray status",
        "",
        f"Logs: {running.folder}    Ctrl-C ends the cluster.",
    ]
    console.print(escape("\n".join(lines)), highlight=False, soft_wrap=True)
