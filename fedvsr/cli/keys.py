"""The tables and questions about clients' long-term keys, for `fedvsr clients` and `fedvsr site`."""

from collections.abc import Mapping

import click
from rich.console import Console
from rich.table import Table

from fedvsr.errors import ConfigError, StoreError
from fedvsr.federation.public_keys import approve_key, known_keys
from fedvsr.privacy.secure_aggregation.identity import fingerprint
from fedvsr.store.base import Store


def print_keys(published: Mapping[str, bytes], known: Mapping[str, bytes] | None = None) -> None:
    """Prints the fingerprint of each client's published key.

    Args:
        published: The keys in the federation's store.
        known: The keys that one client knows, to be compared; None if there is nothing to compare.
    """
    table = Table(title="long-term keys of secure aggregation", title_justify="left")
    headings = ("client", "fingerprint") if known is None else ("client", "fingerprint", "known here")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for client, key in sorted(published.items()):
        row = [client, fingerprint(key)]
        if known is not None:
            row.append(_compare(known.get(client), key))
        table.add_row(*row)
    Console().print(table)
    if not published:
        click.echo("no client has a key yet: it makes one in its first round with secure aggregation")


def approve(client: str, published: Mapping[str, bytes], stores: Mapping[str, Store], *, yes: bool) -> None:
    """Replaces the key that clients know for another client, after a question.

    Args:
        client: The client whose key has changed.
        published: The keys in the federation's store.
        stores: The own store of each client that approves.
        yes: Whether not to ask.

    Raises:
        fedvsr.errors.ConfigError: The client has published no key.
        fedvsr.errors.StoreError: Some stores failed; the key is approved in the others.
    """
    if client not in published:
        raise ConfigError("NAME", client, f"it has published no key; those that have: {', '.join(published)}")
    new = published[client]
    differing: dict[str, bytes | None] = {}
    failures: dict[str, str] = {}
    for name, store in stores.items():
        try:
            known = known_keys(store).get(client)
        except StoreError as error:
            failures[name] = str(error)
            continue
        if known != new:
            differing[name] = known
    if not differing and not failures:
        click.echo(f"{client}: {fingerprint(new)} is known already")
        return
    click.echo(f"{client} now has the key {fingerprint(new)}")
    for name, known in differing.items():
        click.echo(f"  {name} knows {fingerprint(known) if known else 'none'}")
    if differing and not yes:
        click.confirm("Has its owner confirmed the new fingerprint?", abort=True)
    for name in differing:
        try:
            approve_key(stores[name], client, new)
            click.echo(f"approved for {name}")
        except StoreError as error:
            failures[name] = str(error)
    if failures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise StoreError(f"not approved for {', '.join(failures)}; run the command again ({reasons})")


def _compare(known: bytes | None, published: bytes) -> str:
    if known is None:
        return "not yet"
    return "yes" if known == published else f"[red]no: {fingerprint(known)}[/]"
