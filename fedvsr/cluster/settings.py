"""The clients of a deployment: FEDVSR_CLIENTS and FEDVSR_VIRTUAL_CLIENTS, which the chart writes."""

import json
import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from fedvsr.config.run import Name
from fedvsr.errors import ConfigError, UnknownNameError

CLIENTS_VARIABLE = "FEDVSR_CLIENTS"
VIRTUAL_VARIABLE = "FEDVSR_VIRTUAL_CLIENTS"

NO_CLIENT = "it is no client of this deployment any more; known: {}"

Namespace = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


class Part(BaseModel):
    """Frozen settings that refuse unknown fields and have keys in camel case, as Kubernetes has."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class Resources(Part):
    """A container's requests and limits, as in a pod's specification."""

    requests: dict[str, str | int | float] = Field(default_factory=dict)
    limits: dict[str, str | int | float] = Field(default_factory=dict)


class ClientSettings(Part):
    """Settings of a client's Jobs: where they run, and the resources that they may use."""

    namespace: Namespace
    image: str = Field(min_length=1)
    image_pull_policy: str = Field("IfNotPresent", pattern=r"^(Always|IfNotPresent|Never)$")
    gpu_resource: str = Field("nvidia.com/gpu", min_length=1)
    resources: Resources = Resources()
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    runtime_class_name: str = ""
    cache_size: str = Field("10Gi", min_length=1)


class VirtualSettings(ClientSettings):
    """Settings of the Jobs of all virtual clients, which share one namespace."""

    parallelism: int = Field(16, ge=1)


Clients = Mapping[str, ClientSettings]

_CLIENTS = TypeAdapter(dict[Name, ClientSettings])
_VIRTUAL = TypeAdapter(VirtualSettings)

Parsed = TypeVar("Parsed")


def parse_clients(text: str, source: str = CLIENTS_VARIABLE) -> Clients:
    """Reads the clients of a deployment.

    Args:
        text: A JSON object that maps each client's name to its settings.
        source: The origin of the text, for the error's message.

    Raises:
        fedvsr.errors.ConfigError: The text is invalid; the error names the client and the field.
    """
    clients = _parse(_CLIENTS, ClientSettings, text, source)
    return dict(sorted(clients.items()))


def parse_virtual(text: str, source: str = VIRTUAL_VARIABLE) -> VirtualSettings:
    """Reads the settings of a deployment's virtual clients, a JSON object.

    Args:
        text: The settings.
        source: The origin of the text, for the error's message.

    Raises:
        fedvsr.errors.ConfigError: The text is invalid; the error names the field.
    """
    return _parse(_VIRTUAL, VirtualSettings, text, source)


def virtual_from_environment() -> VirtualSettings | None:
    """Returns the settings of the deployment's virtual clients, or None if it has none."""
    text = os.environ.get(VIRTUAL_VARIABLE, "")
    return parse_virtual(text) if text.strip() else None


def require_virtual_clients() -> None:
    """Checks that virtual clients can run: in their namespace, or without a deployment in this process.

    Raises:
        fedvsr.errors.ConfigError: The deployment has none.
    """
    if clients_from_environment() is not None and virtual_from_environment() is None:
        raise ConfigError(
            "clients.split",
            "set",
            "this deployment has no virtual clients; its operator can set virtualClients.enabled",
        )


def clients_from_environment() -> Clients | None:
    """Returns the clients of this process's deployment, or None if it does not belong to a deployment."""
    text = os.environ.get(CLIENTS_VARIABLE, "")
    return parse_clients(text) if text.strip() else None


def choose_clients(known: Iterable[str], requested: Iterable[str]) -> tuple[str, ...]:
    """Returns the requested clients of a deployment, or all its clients if none is requested.

    Raises:
        fedvsr.errors.UnknownNameError: A requested client is not in the deployment.
        fedvsr.errors.ConfigError: The deployment has no clients.
    """
    names, chosen = sorted(known), tuple(requested)
    if not names:
        allowed = "add a client with `fedvsr clients add`, or invite a site with `fedvsr sites invite`"
        raise ConfigError("federation.clients", [], allowed)
    for name in chosen:
        if name not in names:
            hint = "`fedvsr clients add` adds one, `fedvsr sites invite` a site"
            raise UnknownNameError("client", name, names, hint)
    return chosen or tuple(names)


def _parse(adapter: TypeAdapter[Parsed], settings: type[ClientSettings], text: str, source: str) -> Parsed:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigError(source, text[:80], f"it must be JSON ({error})") from None
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = [str(part) for part in first["loc"] if part != "[key]"]
        message = first["msg"].replace("Input should be", "it must be", 1)
        if first["type"] == "extra_forbidden":
            known = sorted(to_camel(name) for name in settings.model_fields)
            message = f"no such field; known here: {', '.join(known)}"
        value = None if first["type"] == "missing" else first["input"]
        raise ConfigError(".".join([source, *path]), value, message[0].lower() + message[1:]) from None
