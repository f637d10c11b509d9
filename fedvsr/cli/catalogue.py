"""`fedvsr models` and `fedvsr strategies`."""

import click
from rich.console import Console
from rich.table import Table


@click.command()
def models() -> None:
    """List the models that `--model` knows; package.module:callable names any other."""
    from fedvsr.models.registry import model_info, model_names

    table = Table()
    for heading in ("model", "parameters", "what it is", "source"):
        table.add_column(heading, justify="right" if heading == "parameters" else "left")
    for name in model_names():
        info = model_info(name)
        count = "–" if info.parameters is None else f"{info.parameters:,}"
        table.add_row(info.name, count, info.description, info.source)
    Console().print(table)


@click.command()
def strategies() -> None:
    """List the strategies that `--strategy` knows."""
    from fedvsr.strategies.registry import strategy_class, strategy_names

    table = Table()
    for heading in ("strategy", "what it is", "clients keep state"):
        table.add_column(heading)
    for name in strategy_names():
        found = strategy_class(name)
        table.add_row(found.name, found.description, "yes" if found.stateful else "no")
    Console().print(table)
