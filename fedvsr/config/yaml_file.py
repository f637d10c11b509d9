"""Reads YAML files whose content is a mapping of fields."""

from pathlib import Path
from typing import Any

import yaml

from fedvsr.errors import ConfigError


def read_yaml_mapping(path: Path, argument: str) -> dict[str, Any]:
    """Reads a YAML file.

    Args:
        path: The file.
        argument: The argument that named it, for the error.

    Raises:
        fedvsr.errors.ConfigError: The file cannot be read, or is not a YAML mapping.
    """
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(argument, str(path), f"it must be a readable file ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        # PyYAML's message quotes lines of the file.
        reason = " ".join(str(error).split())
        raise ConfigError(argument, str(path), f"it must be a YAML file ({reason})") from None
    if not isinstance(values, dict):
        raise ConfigError(argument, str(path), "it must be a YAML mapping of fields")
    return values
