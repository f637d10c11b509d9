"""Adds a client to the Helm values file of `make deploy` and keeps the rest of the file as it is."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from fedvsr.config.run import Name
from fedvsr.errors import ConfigError

_NAME = TypeAdapter(Name)
_ALLOWED = "lower-case letters, digits and dashes, at most 40, no dash at the ends"


def add_client(path: Path, name: str, settings: Mapping[str, str]) -> None:
    """Appends a client to the list of clients in a values file; creates the file if it does not exist.

    Args:
        path: The values file.
        name: The client's name.
        settings: The settings that differ from the defaults, by their names in the chart.

    Raises:
        fedvsr.errors.ConfigError: The name is not allowed, another client has it, the file is invalid, or its
            list of clients is written in a way that this function cannot extend.
    """
    try:
        _NAME.validate_python(name)
    except ValidationError:
        raise ConfigError("NAME", name, _ALLOWED) from None
    before = _read(path)
    clients = _clients(path, before)
    if any(client.get("name") == name for client in clients):
        raise ConfigError("NAME", name, f"{path} has that client already")
    new_client = {"name": name, **settings}
    text = path.read_text("utf-8") if path.exists() else ""
    after = _append(text, new_client)
    if _parse(after) != {**before, "clients": [*clients, new_client]}:
        raise ConfigError(
            "--values",
            str(path),
            f"its list of clients is written in an unusual way; add {new_client} by hand",
        )
    path.write_text(after, "utf-8")


def _parse(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text("utf-8")) if path.exists() else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError("--values", str(path), f"it must be a YAML file ({reason})") from None
    if not isinstance(values or {}, dict):
        raise ConfigError("--values", str(path), "it must be a YAML mapping, as Helm takes it")
    return values or {}


def _clients(path: Path, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    clients = values.get("clients") or []
    if not isinstance(clients, list) or not all(isinstance(client, dict) for client in clients):
        raise ConfigError("--values", str(path), "clients must be a list of mappings with a name")
    return clients


def _append(text: str, client: Mapping[str, str]) -> str:
    """Inserts a client's lines after the last line of the list."""
    lines = text.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("clients:")), None)
    if start is None:
        return "\n".join([*lines, "clients:", *_item(client, "  "), ""])
    # Lines that belong to the list are indented or start with "- ".
    end, indent = start + 1, "  "
    for number, line in enumerate(lines[start + 1 :], start=start + 1):
        if line and not line.startswith((" ", "- ", "#")):
            break
        if line.startswith((" ", "- ")) and line.strip():
            end = number + 1
        if line.lstrip().startswith("- ") and end == number + 1 and indent == "  ":
            indent = line[: len(line) - len(line.lstrip())]
    head = re.sub(r"^clients:\s*(\[\s*\]|null|~)", "clients:", lines[start])
    return "\n".join(
        [*lines[:start], head, *lines[start + 1 : end], *_item(client, indent), *lines[end:], ""]
    )


def _item(client: Mapping[str, str], indent: str) -> list[str]:
    lines = yaml.safe_dump(dict(client), sort_keys=False).splitlines()
    return [f"{indent}{'  ' if number else '- '}{line}" for number, line in enumerate(lines)]
