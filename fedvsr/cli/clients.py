"""`fedvsr clients`: who takes part in a deployment, and whether their place on the cluster is ready."""

import sys
from collections import defaultdict
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedvsr.access.client_check import Finding
from fedvsr.cli.progress import show_progress
from fedvsr.cli.stores import namespace_option
from fedvsr.errors import ConfigError, FedVSRError


@click.group()
def clients() -> None:
    """List, check and add the clients of a deployment.

    The deployment is on the cluster of the kube context.
    """


@clients.command("list")
@namespace_option
def list_clients(namespace: str) -> None:
    """List the deployment's clients: where they are, what they may have, what they have delivered."""
    from fedvsr.cluster.api import Cluster
    from fedvsr.cluster.client_check import quota_line
    from fedvsr.cluster.deployment import read_clients

    cluster = Cluster()
    found = read_clients(cluster, namespace)
    delivered = _delivered()
    table = Table(title=f"clients of {namespace}", title_justify="left")
    for heading in ("client", "namespace", "image", "GPU", "quota", "delivered"):
        table.add_column(heading, overflow="fold")
    for name, each in found.items():
        quota = quota_line(cluster, each.namespace)
        table.add_row(name, each.namespace, each.image, each.gpu_resource, quota, delivered[name])
    Console().print(table)


@clients.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--gpus", type=click.IntRange(0), default=0, help="GPUs that a training will ask for.")
@click.option("--job/--no-job", default=True, help="Let each client look at its own site in a short Job.")
@namespace_option
def check(names: tuple[str, ...], gpus: int, job: bool, namespace: str) -> None:
    """Check that clients are ready for a run: NAME…, or all of the deployment.

    From outside: namespace, service account, settings, credentials, quota, admission, GPUs. In a Job of the
    client: that its credentials do what they should and no more, that there are videos, and that neither
    MLflow nor the Kubernetes API can be reached. The exit code is 1 if anything is wrong.
    """
    from fedvsr.cluster.api import Cluster
    from fedvsr.cluster.client_check import check_in_job, check_place, forbidden_addresses
    from fedvsr.cluster.deployment import read_clients, read_settings
    from fedvsr.cluster.settings import choose_clients

    cluster = Cluster()
    known = read_clients(cluster, namespace)
    console = Console()
    findings: dict[str, list[Finding]] = {}
    chosen = choose_clients(known, names)
    for name in chosen:
        findings[name] = list(check_place(cluster, name, known[name], gpus))
    # Where the place itself is not ready a Job would only wait for it.
    ready = {name: known[name] for name in chosen if not any(each.problem for each in findings[name])}
    if job and ready:
        addresses = forbidden_addresses(read_settings(cluster, namespace))
        with show_progress(console) as progress:
            for name, found in check_in_job(cluster, ready, addresses, progress).items():
                findings[name] += found
    console.print(_findings_table(findings))
    if any(each.problem for found in findings.values() for each in found):
        sys.exit(1)


@clients.command()
@click.argument("name")
@click.option(
    "--values",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("clients.yaml"),
    show_default=True,
    envvar="FEDVSR_VALUES",
    help="The Helm values that `make deploy` takes. [env: FEDVSR_VALUES]",
)
@click.option("--gpu-resource", help="What a GPU is called there, such as nvidia.com/mig-3g.40gb.")
@click.option("--client-namespace", help="Its namespace, where that is not named after it.")
@click.option("--image", help="Its own image, where that is not the deployment's.")
def add(
    name: str, values: Path, gpu_resource: str | None, client_namespace: str | None, image: str | None
) -> None:
    """Add the client NAME to the deployment's values; the next `make deploy` makes its place."""
    from fedvsr.cluster.values_file import add_client

    given = {"namespace": client_namespace, "image": image, "gpuResource": gpu_resource}
    add_client(values, name, {key: value for key, value in given.items() if value})
    click.echo(f"{name} is in {values}. Next:")
    click.echo(f"  make deploy VALUES={values}")
    click.echo(f"  fedvsr clients check {name}")


def _delivered() -> dict[str, str]:
    """What each client has delivered, where the federation's store can be read from here."""
    from fedvsr.federation.run.clients import deliveries
    from fedvsr.store.workspace import Workspace

    result: dict[str, str] = defaultdict(lambda: "–")
    try:
        found = deliveries(Workspace.from_environment().federation())
    except ConfigError:
        # The stores are not in this shell's environment, which the rest of the table does not need.
        return result
    except FedVSRError as error:
        click.echo(str(error), err=True)
        return result
    for client, rounds in found.items():
        runs = {run for run, _ in rounds}
        result[client] = f"{len(rounds)} rounds of {len(runs)} run{'' if len(runs) == 1 else 's'}"
    return result


def _findings_table(findings: dict[str, list[Finding]]) -> Table:
    table = Table(title="clients", title_justify="left")
    for heading in ("client", "what", "state", "what to do"):
        table.add_column(heading, overflow="fold")
    for client, found in findings.items():
        for number, each in enumerate(found):
            state = f"[red]{escape(each.problem)}[/]" if each.problem else "[green]ok[/]"
            table.add_row("" if number else client, escape(each.what), state, escape(each.advice))
        table.add_section()
    return table
