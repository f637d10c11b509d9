"""`fedvsr clients`: lists, checks and adds the clients of a deployment, and compares their keys."""

import sys
from collections import defaultdict
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedvsr.access.client_check import Finding
from fedvsr.cli.options import namespace_option
from fedvsr.cli.progress import show_progress
from fedvsr.errors import ConfigError, FedVSRError


@click.group()
def clients() -> None:
    """List, check and add clients, and compare their keys.

    The deployment is on the cluster of the kube context.
    """


@clients.command("list")
@namespace_option
def list_clients(namespace: str) -> None:
    """List the deployment's clients: namespace, image, GPU resource, quota, deliveries."""
    from fedvsr.cluster.api import Cluster
    from fedvsr.cluster.client_check import quota_line
    from fedvsr.cluster.deployment import read_clients

    cluster = Cluster()
    deployed_clients = read_clients(cluster, namespace)
    deliveries_by_client = _describe_deliveries()
    table = Table(title=f"clients of {namespace}", title_justify="left")
    for heading in ("client", "namespace", "image", "GPU", "quota", "delivered"):
        table.add_column(heading, overflow="fold")
    for name, settings in deployed_clients.items():
        quota = quota_line(cluster, settings.namespace)
        delivered = deliveries_by_client[name]
        table.add_row(name, settings.namespace, settings.image, settings.gpu_resource, quota, delivered)
    Console().print(table)


@clients.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--gpus", type=click.IntRange(0), default=0, help="Number of GPUs that training will request.")
@click.option("--job/--no-job", default=True, help="Also check from inside each namespace, in a short Job.")
@namespace_option
def check(names: tuple[str, ...], gpus: int, job: bool, namespace: str) -> None:
    """Check that clients are ready for a run: NAME…, or all clients of the deployment.

    From outside: namespace, service account, settings, credentials, quota, admission, GPUs. In a Job of the
    client: that its credentials allow only what they must allow, that it has videos, and that it can reach
    neither MLflow nor the Kubernetes API. The exit code is 1 if anything is wrong.
    """
    from fedvsr.cluster.api import Cluster
    from fedvsr.cluster.client_check import check_in_jobs, check_namespace, forbidden_addresses
    from fedvsr.cluster.deployment import read_clients, read_settings
    from fedvsr.cluster.settings import choose_clients

    cluster = Cluster()
    deployed_clients = read_clients(cluster, namespace)
    console = Console()
    findings = {
        name: list(check_namespace(cluster, name, deployed_clients[name], gpus))
        for name in choose_clients(deployed_clients, names)
    }
    # In a namespace that is not ready, a Job would wait in vain.
    ready = {name: deployed_clients[name] for name in findings if not _has_problem(findings[name])}
    if job and ready:
        addresses = forbidden_addresses(read_settings(cluster, namespace))
        with show_progress(console) as progress:
            for name, job_findings in check_in_jobs(cluster, ready, addresses, progress).items():
                findings[name] += job_findings
    console.print(_findings_table(findings))
    if any(_has_problem(client_findings) for client_findings in findings.values()):
        sys.exit(1)


@clients.command()
@click.argument("name")
@click.option(
    "--values",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("clients.yaml"),
    show_default=True,
    envvar="FEDVSR_VALUES",
    help="The Helm values file of `make deploy`. [env: FEDVSR_VALUES]",
)
@click.option("--gpu-resource", help="The client's GPU resource, such as nvidia.com/mig-3g.40gb.")
@click.option("--client-namespace", help="The client's namespace, if it is not named after the client.")
@click.option("--image", help="The client's image, if it is not the deployment's.")
def add(
    name: str, values: Path, gpu_resource: str | None, client_namespace: str | None, image: str | None
) -> None:
    """Add the client NAME to the deployment's values; the next `make deploy` creates its namespace."""
    from fedvsr.cluster.values_file import add_client

    options = {"namespace": client_namespace, "image": image, "gpuResource": gpu_resource}
    add_client(values, name, {key: value for key, value in options.items() if value})
    click.echo(f"{name} is in {values}. Next:")
    click.echo(f"  make deploy VALUES={values}")
    click.echo(f"  fedvsr clients check {name}")


@clients.command()
def keys() -> None:
    """List the clients' long-term keys of secure aggregation, as fingerprints that people can compare.

    The environment names the federation's store (FEDVSR_FEDERATION_STORE).
    """
    from fedvsr.cli.keys import print_keys
    from fedvsr.federation.public_keys import clients_with_keys, published_keys
    from fedvsr.store.workspace import Workspace

    store = Workspace.from_environment(with_clients=False).federation()
    print_keys(published_keys(store, clients_with_keys(store)))


@clients.command("approve")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def approve_new_key(name: str, yes: bool) -> None:
    """Let the hosted clients accept the new key of the client NAME.

    A client that has lost its secret makes a new one, and the others refuse it until a person has compared
    the fingerprint with its owner. The environment names the stores (FEDVSR_FEDERATION_STORE,
    FEDVSR_CLIENT_STORE), and its keys must open the hosted clients' own stores. A site approves for itself:
    `fedvsr site approve-key`.
    """
    from fedvsr.cli.keys import approve
    from fedvsr.federation.public_keys import clients_with_keys, published_keys
    from fedvsr.federation.run.sites import sites_among
    from fedvsr.store.workspace import Workspace

    workspace = Workspace.from_environment()
    store = workspace.federation()
    published = published_keys(store, clients_with_keys(store))
    others = published.keys() - {name, *sites_among(store, published)}
    stores = {client: workspace.client(client) for client in sorted(others)}
    approve(name, published, stores, yes=yes)


def _describe_deliveries() -> dict[str, str]:
    """Returns how much each client has delivered, or a dash if the federation's store cannot be read."""
    from fedvsr.federation.run.clients import deliveries
    from fedvsr.store.workspace import Workspace

    descriptions: dict[str, str] = defaultdict(lambda: "–")
    try:
        rounds_by_client = deliveries(Workspace.from_environment().federation())
    except ConfigError:
        # The environment does not name the stores. The rest of the table does not need them.
        return descriptions
    except FedVSRError as error:
        click.echo(str(error), err=True)
        return descriptions
    for client, rounds in rounds_by_client.items():
        runs = {run for run, _ in rounds}
        descriptions[client] = f"{len(rounds)} rounds of {len(runs)} run{'' if len(runs) == 1 else 's'}"
    return descriptions


def _has_problem(findings: list[Finding]) -> bool:
    return any(finding.problem for finding in findings)


def _findings_table(findings: dict[str, list[Finding]]) -> Table:
    table = Table(title="clients", title_justify="left")
    for heading in ("client", "what", "state", "what to do"):
        table.add_column(heading, overflow="fold")
    for client, client_findings in findings.items():
        for index, finding in enumerate(client_findings):
            state = f"[red]{escape(finding.problem)}[/]" if finding.problem else "[green]ok[/]"
            table.add_row("" if index else client, escape(finding.what), state, escape(finding.advice))
        table.add_section()
    return table
