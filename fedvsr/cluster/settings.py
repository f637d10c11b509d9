"""Where each client's Jobs run and what they may have: FEDVSR_CLIENTS, as the chart writes it."""

import json
import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from fedvsr.config.run import Name
from fedvsr.errors import ConfigError, UnknownNameError

CLIENTS_VARIABLE = "FEDVSR_CLIENTS"

NO_CLIENT = "it is no client of this deployment any more; known: {}"

Namespace = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


class _Part(BaseModel):
    """Frozen, closed, and spelt as Kubernetes spells its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class Resources(_Part):
    """What a client's container asks for and may use, as in a pod's specification."""

    requests: dict[str, str | int | float] = Field(default_factory=dict)
    limits: dict[str, str | int | float] = Field(default_factory=dict)


class ClientSettings(_Part):
    """One client on the cluster."""

    namespace: Namespace
    image: str = Field(min_length=1)
    image_pull_policy: str = Field("IfNotPresent", pattern=r"^(Always|IfNotPresent|Never)$")
    gpu_resource: str = Field("nvidia.com/gpu", min_length=1)
    resources: Resources = Resources()
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    runtime_class_name: str = ""
    cache_size: str = Field("10Gi", min_length=1)


Clients = Mapping[str, ClientSettings]

_CLIENTS = TypeAdapter(dict[Name, ClientSettings])


def parse_clients(text: str, source: str = CLIENTS_VARIABLE) -> Clients:
    """Reads the clients of a deployment.

    Args:
        text: JSON: settings by the client's name.
        source: What the text was read from, for the error.

    Raises:
        fedvsr.errors.ConfigError: It is no such JSON; the client and the field are named.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigError(source, text[:80], f"it must be JSON ({error})") from None
    try:
        found = _CLIENTS.validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = [str(part) for part in first["loc"] if part != "[key]"]
        message = first["msg"].replace("Input should be", "it must be", 1)
        if first["type"] == "extra_forbidden":
            known = sorted(to_camel(name) for name in ClientSettings.model_fields)
            message = f"no such field; known here: {', '.join(known)}"
        value = None if first["type"] == "missing" else first["input"]
        raise ConfigError(".".join([source, *path]), value, message[0].lower() + message[1:]) from None
    return dict(sorted(found.items()))


def clients_from_environment() -> Clients | None:
    """Returns the clients of the deployment that this process belongs to; None where there is none."""
    text = os.environ.get(CLIENTS_VARIABLE, "")
    return parse_clients(text) if text.strip() else None


def choose_clients(known: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """Returns the clients of a run: those that are wanted, or all.

    Raises:
        fedvsr.errors.UnknownNameError: One of them is no client of the deployment.
        fedvsr.errors.ConfigError: The deployment has no clients.
    """
    names, chosen = sorted(known), tuple(wanted)
    if not names:
        raise ConfigError(CLIENTS_VARIABLE, "{}", "add a client first: `fedvsr clients add NAME`")
    for name in chosen:
        if name not in names:
            raise UnknownNameError("client", name, names, "`fedvsr clients add` adds one")
    return chosen or tuple(names)
