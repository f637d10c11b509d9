"""`fedvsr models`, `models convert`, `strategies`, `server-optimisers`, `degradations` and `codecs`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
import yaml
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedvsr.cli.progress import print_line
from fedvsr.config.base import Section
from fedvsr.config.presets import PRESETS, Preset
from fedvsr.config.run import ModelConfig
from fedvsr.errors import ConfigError
from fedvsr.registry import RegistryEntry

_TYPES = {bool: "true or false", int: "integer", float: "number", str: "text", Any: "any"}
# The attributes of pydantic's limits, in words.
_LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "multiple of"}


class NamedGroup(click.Group):
    """A group whose argument may be a name instead of a sub-command.

    The name is passed to the hidden sub-command ``show``.
    """

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            return "show", self.commands["show"], args
        return super().resolve_command(ctx, args)


@click.group(cls=NamedGroup, invoke_without_command=True, subcommand_metavar="[NAME | COMMAND [ARGS]...]")
@click.pass_context
def models(context: click.Context) -> None:
    """List the models and presets.

    A preset is a model with the options of published weights. With NAME, show that model or preset and its
    options. `--model` takes one of these names, or package.module:name for any other model.
    """
    if context.invoked_subcommand:
        return
    from fedvsr.models.registry import model_info, model_names

    table = _table("model", "parameters", "description")
    table.columns[1].justify = "right"
    for name in model_names():
        try:
            info = model_info(name)
        except ConfigError as error:
            table.add_row(name, "–", escape(error.allowed))
            continue
        count = "–" if info.parameters is None else f"{info.parameters:,}"
        table.add_row(name, count, escape(info.description))
    Console().print(table)
    presets = _table("preset", "model", "options", "published weights")
    for name, preset in PRESETS.items():
        presets.add_row(name, preset.model, _settings(preset), preset.releases)
    Console().print(presets)


@models.command("show", hidden=True)
@click.argument("name")
def show_model(name: str) -> None:
    """Show the model or preset NAME with its options."""
    from fedvsr.models.registry import model_info, model_options

    if preset := PRESETS.get(name):
        console = Console()
        settings = _settings(preset)
        print_line(console, f"{name}: {preset.model}{f' with {settings}' if settings else ''}")
        print_line(console, f"Weights: {preset.releases}")
        print_line(console, f"Configuration: {preset.source}")
        name = preset.model
    _show(model_info(name), model_options(name))


@models.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="The model whose weights these are, or a preset.")
@click.option("--scale", type=click.IntRange(2, 4), default=4, show_default=True)
@click.option("--option", "options", metavar="KEY=VALUE", multiple=True, help="An option of the model.")
@click.option(
    "--ema/--no-ema",
    "averaged",
    default=None,
    help="Take the moving average of the weights (params_ema, generator_ema.*), or the plain weights. "
    "[default: params, generator_ema.*: what the official scripts score]",
)
def convert(
    checkpoint: Path, output: Path, model: str, scale: int, options: tuple[str, ...], averaged: bool | None
) -> None:
    """Turn a published CHECKPOINT (.pth, .pt, .safetensors) into the folder OUTPUT.

    OUTPUT contains weights.safetensors and model.json: use it with `fedvsr run --warm-start`, `fedvsr upscale
    --model` or `fedvsr benchmark --model`. Shapes must be those of the model, and names those of the model or
    mmagic's. The command prints what it chose, renamed and left out.
    """
    from fedvsr.models.checkpoint import read_checkpoint
    from fedvsr.trained import save_converted

    values = {}
    for pair in options:
        key, separator, text = pair.partition("=")
        if not separator:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--option")
        values[key] = yaml.safe_load(text)
    network = ModelConfig.parse({"name": model, "options": values}, "model.")
    conversion = read_checkpoint(checkpoint, network.name, scale, network.options, averaged)
    record = save_converted(output, conversion.tensors, network.name, scale, network.options, checkpoint.name)
    for note in conversion.notes:
        click.echo(f"{checkpoint}: {note}")
    count = sum(array.size for array in conversion.tensors.values())
    click.echo(f"{output}: {network.name} ×{scale}, {count:,} numbers, SHA-256 {record.weights_digest[:16]}…")


@click.command()
@click.argument("name", required=False)
def strategies(name: str | None) -> None:
    """List the strategies.

    With NAME, show that strategy and its options. `--strategy` takes one of these names, or
    package.module:name for any other strategy.
    """
    from fedvsr.strategies.registry import STRATEGIES

    if name:
        _show(STRATEGIES.info(name), STRATEGIES.load(name).Options)
        return
    table = _table("strategy", "description", "clients keep state")
    for known in STRATEGIES.names():
        try:
            strategy = STRATEGIES.load(known)
        except ConfigError as error:
            table.add_row(known, escape(error.allowed), "–")
            continue
        table.add_row(known, escape(STRATEGIES.info(known).description), "yes" if strategy.stateful else "no")
    Console().print(table)


@click.command("server-optimisers")
@click.argument("name", required=False)
def server_optimisers(name: str | None) -> None:
    """List the server optimisers.

    With NAME, show that server optimiser and its options. `--server.optimiser` takes one of these names, or
    package.module:name for any other server optimiser.
    """
    from fedvsr.server_optimisers.registry import SERVER_OPTIMISERS

    if name:
        _show(SERVER_OPTIMISERS.info(name), SERVER_OPTIMISERS.load(name).Options)
        return
    table = _table("server optimiser", "description")
    for known in SERVER_OPTIMISERS.names():
        try:
            description = SERVER_OPTIMISERS.info(known).description
        except ConfigError as error:
            description = error.allowed
        table.add_row(known, escape(description))
    Console().print(table)


@click.command()
@click.argument("name", required=False)
def degradations(name: str | None) -> None:
    """List the degradations.

    With NAME, show that degradation. `--degradation` takes one of these names, or package.module:name for any
    other degradation.
    """
    from fedvsr.video.degradations.registry import DEGRADATIONS

    if name:
        _show(DEGRADATIONS.info(name))
        return
    table = _table("degradation", "scales", "description")
    for known in DEGRADATIONS.names():
        try:
            scales = ", ".join(map(str, DEGRADATIONS.load(known).scales))
        except ConfigError as error:
            table.add_row(known, "–", escape(error.allowed))
            continue
        table.add_row(known, scales, escape(DEGRADATIONS.info(known).description))
    Console().print(table)


@click.command()
@click.argument("name", required=False)
def codecs(name: str | None) -> None:
    """List the codecs of updates and global weights.

    With NAME, show that codec. `--upload` takes one of these names, or package.module:name for any other
    codec. `--download` takes those that the list marks.
    """
    from fedvsr.codecs.registry import CODECS

    if name:
        _show(CODECS.info(name))
        return
    table = _table("codec", "download", "description")
    for known in CODECS.names():
        try:
            downloads = "yes" if CODECS.load(known).downloads else "no"
        except ConfigError as error:
            table.add_row(known, "–", escape(error.allowed))
            continue
        table.add_row(known, downloads, escape(CODECS.info(known).description))
    Console().print(table)


def _settings(preset: Preset) -> str:
    return ", ".join(f"{name}: {value}" for name, value in preset.options.items())


def _table(*headings: str) -> Table:
    table = Table()
    for number, heading in enumerate(headings):
        table.add_column(heading, no_wrap=number == 0)
    return table


def _show(info: RegistryEntry, options: type[Section] | None = None) -> None:
    console = Console()
    print_line(console, f"{info.name}: {info.description}")
    print_line(console, f"Source: {info.source}")
    if options is None:
        return
    if not options.model_fields:
        takes_any = options.model_config.get("extra") == "allow"
        print_line(console, f"Options: {'any' if takes_any else 'none'}")
        return
    table = _table("option", "type", "range", "default", "description")
    for name, field in options.model_fields.items():
        default = "required" if field.is_required() else json.dumps(field.default, default=str)
        table.add_row(
            field.alias or name,
            escape(_type(field)),
            escape(", ".join(_limits(field))),
            escape(default),
            escape(field.description or ""),
        )
    console.print(table)


def _type(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    if get_origin(annotation) is Literal:
        return "choice"
    return _TYPES.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _limits(field: FieldInfo) -> Iterator[str]:
    if get_origin(field.annotation) is Literal:
        yield " or ".join(map(str, get_args(field.annotation)))
    for limit in field.metadata:
        for attribute, words in _LIMITS.items():
            if hasattr(limit, attribute):
                yield f"{words} {getattr(limit, attribute)}"
