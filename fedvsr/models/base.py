"""The interface of a model, and of its options.

A model is any `torch.nn.Module` with

    forward(x: (N, T, 3, h, w) floating, in [0, 1]) -> (N, T, 3, s·h, s·w)

in the input's dtype: RGB frames in playing order, of any T ≥ 1 and any size. The output may lie
outside [0, 1]; code that makes pictures of it clips it.

A built-in model is one file and one line in `fedvsr.models.registry`. Its constructor takes the scale and
its parsed options, an instance of the `fedvsr.config.base.Section` that the class names in ``Options``. None
stands for the defaults::

    class TinyOptions(Section):
        channels: int = Field(16, ge=1, le=64, description="feature channels")


    class Tiny(nn.Module):
        description = "one convolution"
        source = "authors, title, venue, link"
        parameter_count = 448  # at scale 4 with the default options
        Options = TinyOptions

        def __init__(self, scale: int, options: TinyOptions | None = None) -> None: ...

Any other callable is also valid if it takes ``scale`` and its options as keywords and returns such a module.
It has no ``Options``: its options are its keywords (`fedvsr.models.keyword_options`). A package provides it
through an entry point of the group ``fedvsr.models``, or a run names it ``package.module:name``.

Four class attributes are optional. They are used to upscale a long or large video in overlapping windows, one
of any size, or with little of the device's memory:

- ``temporal_context: int | None``: number of neighbouring frames on either side that an output frame
  depends on; None if it depends on all of them (a recurrent model);
- ``spatial_context: int``: number of input pixels beyond a tile's border that make the tile's output
  (very nearly) equal to that of the whole frame;
- ``size_multiple: int``: the model accepts only heights and widths that are multiples of this number. Then
  frames are mirrored at the bottom and right before it sees them, and its output is cropped;
- ``features_on_cpu: bool``: whether the features of every frame are kept in the CPU's memory. Only a model
  that can do this has the attribute. `fedvsr.models.feature_cache` sets it. The output is then on the CPU,
  too.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedvsr.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

DEFAULT_SPATIAL_CONTEXT = 32
"""The spatial context, in input pixels, of a model without ``spatial_context``."""


@dataclass(frozen=True)
class Contexts:
    """The input that a model's output depends on.

    Attributes:
        temporal: Number of neighbouring frames on either side; None for all frames.
        spatial: Number of input pixels around a tile.
    """

    temporal: int | None
    spatial: int


def contexts(model: "nn.Module") -> Contexts:
    """Returns a model's contexts.

    A module without these attributes counts as recurrent, with `DEFAULT_SPATIAL_CONTEXT`.
    """
    return Contexts(
        temporal=getattr(model, "temporal_context", None),
        spatial=getattr(model, "spatial_context", DEFAULT_SPATIAL_CONTEXT),
    )


def size_multiple(model: "nn.Module") -> int:
    """Returns the number that the height and width of a model's input must be multiples of; 1 if any will do.

    Raises:
        fedvsr.errors.ConfigError: The model states something else than an integer of at least 1.
    """
    multiple = getattr(model, "size_multiple", 1)
    if not isinstance(multiple, int) or multiple < 1:
        raise ConfigError(
            f"{type(model).__name__}.size_multiple", multiple, "it must be an integer of at least 1"
        )
    return multiple


def check_scale(scale: int, allowed: Collection[int], model: str) -> None:
    """Checks that a model supports a scale.

    Args:
        scale: The scale, ``data.scale``.
        allowed: The scales that the model supports.
        model: The model's name, for the error.

    Raises:
        fedvsr.errors.ConfigError: The scale is not allowed.
    """
    if scale not in allowed:
        scales = ", ".join(map(str, sorted(allowed)))
        raise ConfigError("data.scale", scale, f"{model} upscales by {scales}")
