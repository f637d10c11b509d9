"""Registries: what a name in the configuration stands for.

A name is resolved in this order:

1. the table of built-ins, from names to references ``package.module:name``;
2. the Python entry points of the registry's group, which installed packages provide;
3. the name itself, if it is such a reference.

Nothing is imported until `Registry.load` or `Registry.info` is called, so listing names is cheap.
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
    """Returns whether a name is a reference ``package.module:name`` to code outside the registry."""
    return ":" in name


@dataclass(frozen=True)
class RegistryEntry:
    """Describes a class or function of a registry without creating an instance.

    Attributes:
        name: The name that was looked up.
        description: What it is, in one line.
        source: The paper; without one, the distribution or module that provides it.
    """

    name: str
    description: str
    source: str


class Registry(Generic[T]):
    """Finds the classes or functions of one kind by name.

    Args:
        kind: The kind in words, for errors: ``strategy``.
        field: The configuration field that holds a name, for errors: ``strategy.name``.
        group: The group of entry points: ``fedvsr.strategies``.
        built_ins: The references of the built-ins, by name.
        accepts: Returns whether an object is of the kind.
        expected: What ``accepts`` accepts, in words: ``a subclass of fedvsr.strategies.base.Strategy``.
    """

    def __init__(
        self,
        *,
        kind: str,
        field: str,
        group: str,
        built_ins: Mapping[str, str],
        accepts: Callable[[object], TypeGuard[T]],
        expected: str,
    ) -> None:
        self.kind = kind
        self.field = field
        self.group = group
        self._built_ins = dict(built_ins)
        self._accepts = accepts
        self._expected = expected

    def names(self) -> tuple[str, ...]:
        """Returns the names of the built-ins and of the installed entry points, sorted."""
        return tuple(sorted({*self._built_ins, *self._entry_points()}))

    def check_name(self, name: str) -> None:
        """Checks a name without importing what it stands for.

        Raises:
            fedvsr.errors.UnknownNameError: The name is neither registered nor a reference.
        """
        self._resolve(name)

    def load(self, name: str) -> T:
        """Imports what a name stands for.

        Args:
            name: One of `names`, or a reference ``package.module:name``.

        Raises:
            fedvsr.errors.UnknownNameError: The name is neither registered nor a reference.
            fedvsr.errors.ConfigError: The import fails, or the imported object is of another kind.
        """
        reference, _ = self._resolve(name)
        loaded = self._import(name, reference)
        if not self._accepts(loaded):
            actual = loaded.__name__ if isinstance(loaded, type) else f"a {type(loaded).__name__}"
            raise ConfigError(self.field, name, f"{reference} is {actual}, not {self._expected}")
        return loaded

    def info(self, name: str) -> RegistryEntry:
        """Imports what a name stands for and describes it.

        Raises:
            fedvsr.errors.UnknownNameError: The name is neither registered nor a reference.
            fedvsr.errors.ConfigError: The import fails, or the imported object is of another kind.
        """
        loaded = self.load(name)
        description = getattr(loaded, "description", "") or (inspect.getdoc(loaded) or "").partition("\n")[0]
        _, provider = self._resolve(name)
        return RegistryEntry(name, description, getattr(loaded, "source", "") or provider)

    def _resolve(self, name: str) -> tuple[str, str]:
        """Returns a name's reference, and the distribution or module that provides the object."""
        if name in self._built_ins:
            reference = self._built_ins[name]
            return reference, _module_of(reference)
        entry_point = self._entry_points().get(name)
        if entry_point is not None:
            provider = entry_point.dist.name if entry_point.dist else _module_of(entry_point.value)
            return entry_point.value, provider
        if is_reference(name):
            return name, _module_of(name)
        raise UnknownNameError(self.kind, name, self.names())

    def _import(self, name: str, reference: str) -> object:
        try:
            return _import_reference(reference)
        except Exception as error:
            # Importing somebody else's module may raise anything.
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigError(self.field, name, f"{reference} cannot be imported ({reason})") from error

    def _entry_points(self) -> dict[str, EntryPoint]:
        return {entry_point.name: entry_point for entry_point in entry_points(group=self.group)}


def registry_of_subclasses(
    base: type[T], *, kind: str, field: str, group: str, built_ins: Mapping[str, str]
) -> Registry[type[T]]:
    """Returns a registry of the subclasses of a class; if that is abstract, of the concrete ones.

    Args:
        base: The class.
        kind: See `Registry`, as for the other arguments.
        field: The configuration field.
        group: The group of entry points.
        built_ins: The references of the built-ins.
    """
    is_abstract = inspect.isabstract(base)

    def accepts(value: object) -> TypeGuard[type[T]]:
        return (
            isinstance(value, type)
            and issubclass(value, base)
            and not (is_abstract and inspect.isabstract(value))
        )

    return Registry(
        kind=kind,
        field=field,
        group=group,
        built_ins=built_ins,
        accepts=accepts,
        expected=f"a {'concrete ' if is_abstract else ''}subclass of {base.__module__}.{base.__qualname__}",
    )


def _module_of(reference: str) -> str:
    return reference.partition(":")[0]


def _import_reference(reference: str) -> object:
    module, _, path = reference.partition(":")
    loaded: object = importlib.import_module(module)
    for attribute in path.split("."):
        loaded = getattr(loaded, attribute)
        # `package:os.system` would reach code outside the packages that a client allows.
        if isinstance(loaded, ModuleType):
            raise ValueError(f"{attribute} is a module: name it before the colon")
    return loaded
