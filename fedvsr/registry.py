"""Registries: what a name in the configuration stands for.

A name is looked up in three places, in this order:

1. the table of built-ins, from a name to a reference ``package.module:name``;
2. the Python entry points of the registry's group, which installed packages bring;
3. the name itself, if it is such a reference.

Nothing is imported before it is loaded, so listing names is cheap.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Generic, TypeGuard, TypeVar

from fedvsr.errors import ConfigError, UnknownNameError

T = TypeVar("T")


def is_reference(name: str) -> bool:
    """Returns whether a name is a reference ``package.module:name``, which names code to import."""
    return ":" in name


@dataclass(frozen=True)
class Info:
    """What is known of a registered class without building it.

    Attributes:
        name: The name that it was looked up by.
        description: What it is, in one line.
        source: The paper, or the package that brings it.
    """

    name: str
    description: str
    source: str


class Registry(Generic[T]):
    """Finds the classes or functions of one kind by name.

    Args:
        kind: What is registered, in words: ``strategy``.
        field: The configuration field that holds a name, for errors: ``strategy.name``.
        group: The group of entry points: ``fedvsr.strategies``.
        table: The built-ins, from names to references.
        accepts: Returns whether an object is of the kind.
        expected: What ``accepts`` accepts, in words: ``a subclass of fedvsr.strategies.base.Strategy``.
    """

    def __init__(
        self,
        kind: str,
        field: str,
        group: str,
        table: Mapping[str, str],
        accepts: Callable[[object], TypeGuard[T]],
        expected: str,
    ) -> None:
        self.kind = kind
        self.field = field
        self.group = group
        self._table = dict(table)
        self._accepts = accepts
        self._expected = expected

    def names(self) -> tuple[str, ...]:
        """Returns the names of the built-ins and of the installed entry points, sorted."""
        return tuple(sorted({*self._table, *self._entry_points()}))

    def check_name(self, name: str) -> None:
        """Checks a name without importing what it stands for.

        Raises:
            fedvsr.errors.UnknownNameError: It is neither registered nor a reference.
        """
        self._reference(name)

    def load(self, name: str) -> T:
        """Imports what a name stands for.

        Args:
            name: One of `names`, or a reference ``package.module:name``.

        Raises:
            fedvsr.errors.UnknownNameError: It is neither registered nor a reference.
            fedvsr.errors.ConfigError: It cannot be imported, or is of another kind.
        """
        reference = self._reference(name)
        loaded = self._import(name, reference)
        if not self._accepts(loaded):
            actual = loaded.__name__ if isinstance(loaded, type) else f"a {type(loaded).__name__}"
            raise ConfigError(self.field, name, f"{reference} is {actual}, not {self._expected}")
        return loaded

    def info(self, name: str) -> Info:
        """Returns what is known of a name; imports what it stands for.

        Raises:
            fedvsr.errors.UnknownNameError: It is neither registered nor a reference.
            fedvsr.errors.ConfigError: It cannot be imported, or is of another kind.
        """
        loaded = self.load(name)
        description = getattr(loaded, "description", "") or (inspect.getdoc(loaded) or "").partition("\n")[0]
        return Info(name, description, getattr(loaded, "source", "") or self._origin(name))

    def _reference(self, name: str) -> str:
        if name in self._table:
            return self._table[name]
        entry_point = self._entry_points().get(name)
        if entry_point is not None:
            return entry_point.value
        if is_reference(name):
            return name
        raise UnknownNameError(self.kind, name, self.names())

    def _import(self, name: str, reference: str) -> object:
        module, _, attribute = reference.partition(":")
        try:
            loaded: object = importlib.import_module(module)
            for part in attribute.split("."):
                loaded = getattr(loaded, part)
                # A client that trusts a package does not trust all modules that the package imports.
                if isinstance(loaded, ModuleType):
                    raise ValueError(f"{part} is a module: name it before the colon")
        except Exception as error:
            # Importing somebody else's module may raise anything.
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigError(self.field, name, f"{reference} cannot be imported ({reason})") from error
        return loaded

    def _origin(self, name: str) -> str:
        """Returns the distribution or the module that brings what a name stands for."""
        entry_point = self._entry_points().get(name)
        if entry_point is not None and entry_point.dist is not None:
            return str(entry_point.dist.name)
        return self._reference(name).partition(":")[0]

    def _entry_points(self) -> dict[str, EntryPoint]:
        return {entry_point.name: entry_point for entry_point in entry_points(group=self.group)}
