"""`fedvsr models`, `fedvsr models convert` and `fedvsr strategies`."""

from pathlib import Path

import click
import yaml
from rich.console import Console
from rich.table import Table


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List the models.

    `--model` takes one of these names, or package.module:callable for any other model.
    """
    if context.invoked_subcommand:
        return
    from fedvsr.models.registry import model_info, model_names

    table = Table()
    for heading in ("model", "parameters", "what it is", "source"):
        table.add_column(heading, justify="right" if heading == "parameters" else "left")
    for name in model_names():
        info = model_info(name)
        count = "–" if info.parameters is None else f"{info.parameters:,}"
        table.add_row(info.name, count, info.description, info.source)
    Console().print(table)


@models.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="The model whose weights these are.")
@click.option("--scale", type=click.IntRange(2, 4), default=4, show_default=True)
@click.option("--option", "options", metavar="KEY=VALUE", multiple=True, help="An option of the model.")
def convert(checkpoint: Path, output: Path, model: str, scale: int, options: tuple[str, ...]) -> None:
    """Turn a published CHECKPOINT (.pth, .pt, .safetensors) into the folder OUTPUT.

    OUTPUT holds weights.safetensors and model.json: give it to `fedvsr run --warm-start`, `fedvsr upscale
    --model` or `fedvsr benchmark --model`. Names and shapes must be the model's.
    """
    from fedvsr.models.checkpoint import read_checkpoint
    from fedvsr.trained import save_converted

    values = {}
    for pair in options:
        key, separator, text = pair.partition("=")
        if not separator:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--option")
        values[key] = yaml.safe_load(text)
    tensors = read_checkpoint(checkpoint, model, scale, values)
    record = save_converted(output, tensors, model, scale, values, checkpoint.name)
    count = sum(array.size for array in tensors.values())
    click.echo(f"{output}: {model} ×{scale}, {count:,} numbers, SHA-256 {record.weights_digest[:16]}…")


@click.command()
def strategies() -> None:
    """List the strategies.

    `--strategy` takes one of these names.
    """
    from fedvsr.strategies.registry import strategy_class, strategy_names

    table = Table()
    for heading in ("strategy", "what it is", "clients keep state"):
        table.add_column(heading)
    for name in strategy_names():
        found = strategy_class(name)
        table.add_row(found.name, found.description, "yes" if found.stateful else "no")
    Console().print(table)
