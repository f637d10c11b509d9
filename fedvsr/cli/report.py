"""`fedvsr report`: writes a run as one HTML page."""

from pathlib import Path

import click

from fedvsr.cli.options import store_option
from fedvsr.cli.stores import open_workspace


@click.command()
@click.argument("name", metavar="RUN")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The HTML file to write. [default: RUN.html]",
)
@store_option
def report(name: str, output: Path | None, store: str) -> None:
    """Write a run as one HTML page.

    The page shows the curves, rounds, clients and crops of RUN. It needs no other files.
    """
    from fedvsr.federation.runs import load_run
    from fedvsr.report.page import render_page
    from fedvsr.report.summary import summarise_run

    federation_store = open_workspace(store).federation()
    page = render_page(summarise_run(federation_store, load_run(federation_store, name)))
    target = output or Path(f"{name}.html")
    target.write_text(page, encoding="utf-8")
    click.echo(target)
