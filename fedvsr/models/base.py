"""What fedvsr asks of a model, and what a model's constructor uses to check its options.

A model is any `torch.nn.Module` with

    forward(x: (N, T, 3, h, w) floating, in [0, 1]) -> (N, T, 3, s·h, s·w)

in the input's dtype: RGB frames in playing order, of any T ≥ 1 and any size. The output may leave
[0, 1]; whoever makes pictures of it clips. Three class attributes are optional and only matter
where a long or large video is upscaled, in overlapping windows or with little of the device's memory:

- ``temporal_context: int | None``: how many neighbouring frames on either side an output frame
  depends on, None if on all of them (a recurrent model);
- ``spatial_context: int``: how many input pixels beyond a tile's border make the tile's inside
  (very nearly) equal to that of the whole frame;
- ``features_on_cpu: bool``: that what the model keeps of every frame can wait in the CPU's memory, and
  whether it does; `fedvsr.models.feature_cache` sets it. The output is then on the CPU too.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedvsr.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

DEFAULT_SPATIAL_CONTEXT = 32
"""The overlap, in input pixels, for a model that does not say how much it needs."""


@dataclass(frozen=True)
class Contexts:
    """How far a model looks.

    Attributes:
        temporal: Neighbouring frames on either side that matter, or None for all of them.
        spatial: Input pixels around a tile that matter.
    """

    temporal: int | None
    spatial: int


def contexts(model: "nn.Module") -> Contexts:
    """Returns how far a model looks, by its attributes where it has them.

    A module of somebody else's, which says nothing, is taken to be recurrent and to need an overlap
    of `DEFAULT_SPATIAL_CONTEXT` pixels.
    """
    return Contexts(
        temporal=getattr(model, "temporal_context", None),
        spatial=getattr(model, "spatial_context", DEFAULT_SPATIAL_CONTEXT),
    )


def check_scale(scale: int, allowed: Collection[int], model: str) -> None:
    """Checks a model's scale.

    Raises:
        fedvsr.errors.ConfigError: The scale, ``data.scale``, is not one of those allowed.
    """
    if scale not in allowed:
        scales = ", ".join(str(each) for each in sorted(allowed))
        raise ConfigError("data.scale", scale, f"{model} upscales by {scales}")


def check_count(option: str, value: object, minimum: int, maximum: int) -> None:
    """Checks an option that counts something: layers, channels, frames.

    Raises:
        fedvsr.errors.ConfigError: It is no integer or out of the range, both ends included.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise ConfigError(f"model.options.{option}", value, f"it is an integer from {minimum} to {maximum}")
