"""The registry of server optimisers. A built-in one is one file in this folder, and one line here."""

from collections.abc import Mapping

from fedvsr.registry import registry_of_subclasses
from fedvsr.server_optimisers.base import ServerOptimiser

_BUILT_INS = {
    "adagrad": "fedvsr.server_optimisers.adagrad:Adagrad",
    "adam": "fedvsr.server_optimisers.adam:Adam",
    "momentum": "fedvsr.server_optimisers.momentum:Momentum",
    "yogi": "fedvsr.server_optimisers.yogi:Yogi",
}


SERVER_OPTIMISERS = registry_of_subclasses(
    ServerOptimiser,  # type: ignore[type-abstract]
    kind="server optimiser",
    field="server.optimiser",
    group="fedvsr.server_optimisers",
    built_ins=_BUILT_INS,
)


def server_optimiser_names() -> tuple[str, ...]:
    """Returns the names of the built-in server optimisers and of the installed entry points, sorted."""
    return SERVER_OPTIMISERS.names()


def build_server_optimiser(name: str, options: Mapping[str, object] | None = None) -> ServerOptimiser:
    """Builds a server optimiser with its options.

    Args:
        name: One of `server_optimiser_names`, or a reference ``package.module:name``.
        options: Values of its ``Options``; missing options get their defaults.

    Raises:
        fedvsr.errors.UnknownNameError: No server optimiser has that name.
        fedvsr.errors.ConfigError: The reference cannot be imported or is not a server optimiser, or an option
            is unknown or has a value that is not allowed.
    """
    optimiser = SERVER_OPTIMISERS.load(name)
    return optimiser(optimiser.Options.parse(dict(options or {}), "server.options."))
