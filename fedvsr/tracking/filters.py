"""Values in MLflow's filter strings."""

from fedvsr.errors import InputError


def quoted(value: str) -> str:
    """Returns a value in quotes, as a filter of MLflow's searches takes it.

    MLflow takes what stands between the quotes literally and knows no escapes.

    Raises:
        fedvsr.errors.InputError: The value has both kinds of quotes, or a backslash before the last quote.
    """
    for quote in ("'", '"'):
        if quote not in value and not value.endswith("\\"):
            return f"{quote}{value}{quote}"
    raise InputError(f"{value!r} cannot be searched in MLflow: it has both quotes or ends with a backslash")
