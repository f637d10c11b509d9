"""Options for the fields of the configuration, and how their values are parsed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

import click
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fedvsr.codecs.registry import codec_names, download_codec_names
from fedvsr.config.experiment import Experiment, VideosConfig
from fedvsr.config.run import PretrainedFile, RunConfig
from fedvsr.errors import ConfigError
from fedvsr.models.registry import model_names
from fedvsr.server_optimisers.registry import server_optimiser_names
from fedvsr.strategies.registry import strategy_names
from fedvsr.video.degradations.registry import degradation_names

# Fields whose value is a name in a registry, and the names to list in the help.
_NAMES = {
    "communication.download": download_codec_names,
    "communication.upload": codec_names,
    "data.degradation": degradation_names,
    "model.name": model_names,
    "server.optimiser": server_optimiser_names,
    "strategy.name": strategy_names,
}
# Fields that are a flag on the command line: --strict, not --strict true.
_FLAGS = {"data.strict"}
# Replaces the dot in the name of an option's parameter, which must be an identifier.
_DOT = "__"


@dataclass(frozen=True)
class _Leaf:
    """A field that is not a section: its dotted name and its pydantic description."""

    path: str
    field: FieldInfo

    @property
    def kind(self) -> Any:
        return _plain(self.field.annotation)

    @property
    def is_mapping(self) -> bool:
        return get_origin(self.kind) is dict

    @property
    def holds_paths(self) -> bool:
        """Whether the field maps names to files. A path may look like a number."""
        return self.is_mapping and get_args(self.kind)[1] in (VideosConfig, PretrainedFile)


class ConfiguredCommand(click.Command):
    """A command whose help lists the configuration options by section, after the other options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or isinstance(parameter, click.Argument):
                continue
            name = str(parameter.name)
            title = f"Configuration: {name.split(_DOT)[0]}" if _DOT in name else "Options"
            sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def configuration_options(section: type[RunConfig] = Experiment) -> list[click.Option]:
    """Returns an option for each field of a run or an experiment.

    A field's option is ``--section.field``. It is also ``--field`` if only one section has that field.
    ``--model`` and ``--strategy`` set the field ``name`` of these sections.
    """
    leaves = list(_leaves(section, ""))
    counts = Counter(leaf.path.rpartition(".")[2] for leaf in leaves)
    return [_option(leaf, counts) for leaf in leaves]


def read_overrides(values: dict[str, Any]) -> dict[str | tuple[str, ...], Any]:
    """Returns the fields that the command line sets. Values are parsed as YAML."""
    result: dict[str | tuple[str, ...], Any] = {}
    for leaf in _leaves(Experiment, ""):
        value = values.get(leaf.path.replace(".", _DOT))
        if value is None or value == ():
            continue
        if leaf.is_mapping:
            for pair in value:
                key, separator, text = pair.partition("=")
                if not separator:
                    raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint=f"--{leaf.path}")
                result[*leaf.path.split("."), key] = text if leaf.holds_paths else _parse(leaf.path, text)
        elif leaf.path in _FLAGS:
            result[leaf.path] = value
        elif get_origin(leaf.kind) is tuple:
            result[leaf.path] = [part.strip() for part in value.split(",") if part.strip()]
        else:
            result[leaf.path] = value if leaf.kind is str else _parse(leaf.path, value)
    return result


def parse_field(text: str) -> tuple[str, Any]:
    """Splits FIELD=VALUE into the field's dotted name and its value."""
    field, separator, value = text.partition("=")
    if not separator:
        raise click.BadParameter(f"{text!r} is not FIELD=VALUE", param_hint="--set")
    return field, _parse(field, value)


def explicit_fields(experiment: Experiment) -> dict[str, Any]:
    """Returns the run's fields that were set explicitly, by their dotted names."""
    values = experiment.model_dump(mode="json", exclude_unset=True, include=set(RunConfig.model_fields))
    result: dict[str, Any] = {}
    for leaf in _leaves(RunConfig, ""):
        *sections, last = leaf.path.split(".")
        section_values = values
        for section in sections:
            section_values = section_values.get(section, {})
        if last in section_values:
            result[leaf.path] = section_values[last]
    return result


def _parse(field: str, text: str) -> object:
    """Parses a value as YAML: for example a number, true or false, or a list."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(field, text, "it must be a YAML value") from None


def _option(leaf: _Leaf, counts: Counter[str]) -> click.Option:
    names = [_flag(leaf.path)]
    section, _, last = leaf.path.rpartition(".")
    if section and last == "name":
        names.append(_flag(section))
    elif section and counts[last] == 1:
        names.append(_flag(last))
    text = leaf.field.description or ""
    if leaf.path in _FLAGS:
        flags = [f"{name}/{name.replace('--', '--no-', 1)}" for name in names]
        return click.Option([leaf.path.replace(".", _DOT), *flags], help=text, default=None)
    if leaf.path in _NAMES:
        text += f": {', '.join(_NAMES[leaf.path]())}, or package.module:name"
    default = leaf.field.get_default(call_default_factory=True)
    if not leaf.field.is_required() and default not in ("", None) and default != {} and default != ():
        text += f"  [default: {default}]"
    return click.Option(
        [leaf.path.replace(".", _DOT), *names],
        help=text,
        metavar=_metavar(leaf),
        multiple=leaf.is_mapping,
        type=str,
    )


def _leaves(section: type[BaseModel], prefix: str) -> Iterator[_Leaf]:
    for name, field in section.model_fields.items():
        kind = _plain(field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _leaves(kind, f"{prefix}{name}.")
        else:
            yield _Leaf(prefix + name, field)


def _plain(annotation: Any) -> Any:
    """Removes ``| None`` from an annotation."""
    if get_origin(annotation) in (Union, UnionType):
        return _plain(next(part for part in get_args(annotation) if part is not type(None)))
    return annotation


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _metavar(leaf: _Leaf) -> str:
    choices = get_args(leaf.kind) if "Literal" in str(get_origin(leaf.kind)) else ()
    if choices:
        return "|".join(str(choice) for choice in choices)
    if leaf.is_mapping:
        return "KEY=VALUE"
    if get_origin(leaf.kind) is tuple:
        return "A,B,…"
    return {int: "INTEGER", float: "NUMBER", bool: "true|false"}.get(leaf.kind, "TEXT")
