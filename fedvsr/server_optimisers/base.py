"""The base class of server optimisers, and the walk over a model's tensors.

A strategy aggregates the clients' weights of a round. The change from the base weights to this aggregate,
Δ = aggregate − base, is for a server optimiser what the negative gradient is for an optimiser. What it
remembers between rounds, such as a momentum, are tensors at the server: clients never get them.

Integer and boolean buffers become those of the aggregate. Floating-point buffers, such as the running
statistics of batch normalisation, are treated like parameters: the server has the tensors' names and dtypes,
and nothing that tells one from the other.

A built-in server optimiser is one file and one line in `fedvsr.server_optimisers.registry`. A package
provides another one through an entry point of the group ``fedvsr.server_optimisers``, or a run names it
``package.module:name``.

Source: Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedvsr.config.base import NoOptions, Section
from fedvsr.weights import Array, Tensors, TensorSpec, find_misfit, specs_of

FloatArray = NDArray[np.float64]


class ServerOptimiser(ABC):
    """A server optimiser.

    Args:
        options: An instance of ``Options``; None stands for the defaults.

    Attributes:
        name: Its name in the registry.
        description: What it is, in one line.
        source: The paper (authors, title, venue and link); empty if there is none.
        Options: The section that declares its options.
        options: The values of its options.
        moments: What it remembers of each floating-point tensor, in an array of the tensor's shape.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    source: ClassVar[str] = ""
    Options: ClassVar[type[Section]] = NoOptions
    moments: ClassVar[tuple[str, ...]] = ()

    options: Section

    def __init__(self, options: Section | None = None) -> None:
        self.options = self.Options() if options is None else options

    def first_value(self, moment: str) -> float:
        """Returns the value of all elements of a moment before the first round."""
        return 0.0

    def for_round(self, participation: float) -> "ServerOptimiser":
        """Returns the optimiser for a round; the base class returns itself.

        Args:
            participation: The share of the round's planned clients that are in the aggregate, in (0, 1].
        """
        return self

    @abstractmethod
    def step(self, change: FloatArray, moments: dict[str, FloatArray]) -> FloatArray:
        """Returns what to add to a tensor's base weights.

        Args:
            change: Δ, the aggregate minus the base weights.
            moments: The tensor's moments after the previous round. The new ones take their places.
        """


def optimise(
    optimiser: ServerOptimiser, base: Tensors, aggregate: Tensors, state: Tensors
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Steps from the base weights, and returns the new weights and the new state.

    One tensor at a time is computed in float64. The state is float32.

    Args:
        optimiser: The server optimiser.
        base: The base weights.
        aggregate: The strategy's aggregate, with the names, shapes and dtypes of the base weights.
        state: The state after the previous round; empty before the first round.

    Returns:
        The new weights, with the dtypes of the base weights, and the new state. Values beyond the range of
        their dtype are infinite.
    """
    weights: dict[str, Array] = {}
    following: dict[str, Array] = {}
    for name, array in aggregate.items():
        if not np.issubdtype(array.dtype, np.floating):
            weights[name] = array
            continue
        start = base[name].astype(np.float64)
        moments = {
            moment: _moment(optimiser, moment, state.get(_key(moment, name)), start.shape)
            for moment in optimiser.moments
        }
        step = optimiser.step(array.astype(np.float64) - start, moments)
        weights[name] = (start + step).astype(array.dtype)
        for moment, values in moments.items():
            following[_key(moment, name)] = values.astype(np.float32)
    return weights, following


def find_state_problem(optimiser: ServerOptimiser, state: Tensors, base: Tensors) -> str | None:
    """Describes what does not fit the optimiser and the model in a stored state; None if it fits."""
    expected = {
        _key(moment, name): TensorSpec(array.shape, np.dtype(np.float32))
        for name, array in _floating(base)
        for moment in optimiser.moments
    }
    return find_misfit(specs_of(state), expected)


def _floating(tensors: Mapping[str, Array]) -> Iterable[tuple[str, Array]]:
    return ((name, array) for name, array in tensors.items() if np.issubdtype(array.dtype, np.floating))


def _moment(
    optimiser: ServerOptimiser, moment: str, stored: Array | None, shape: tuple[int, ...]
) -> FloatArray:
    if stored is None:
        return np.full(shape, optimiser.first_value(moment))
    return stored.astype(np.float64)


def _key(moment: str, name: str) -> str:
    """Returns the name of a tensor's moment in the state. A tensor's name may have any characters."""
    return f"{moment}/{name}"
