"""What a model is, and how its constructor gets its options.

A model is any `torch.nn.Module` with

    forward(x: (N, T, 3, h, w) floating, in [0, 1]) -> (N, T, 3, s·h, s·w)

in the input's dtype: RGB frames in playing order, of any T ≥ 1 and any size. The output may leave
[0, 1]; whoever makes pictures of it clips.

A built-in model is one file and one line in `fedvsr.models.registry`. Its constructor takes the scale and
its parsed options, a `fedvsr.config.base.Section` that the class names in ``Options``; None stands for the
defaults::

    class TinyOptions(Section):
        channels: int = Field(16, ge=1, le=64, description="feature channels")


    class Tiny(nn.Module):
        description = "one convolution"
        source = "authors, title, venue, link"
        parameter_count = 448  # at scale 4 with the default options
        Options = TinyOptions

        def __init__(self, scale: int, options: TinyOptions | None = None) -> None: ...

Any other callable is a model too if it takes ``scale`` and its options as keywords and returns such a module.
It has no ``Options``: its options are its keywords (`fedvsr.models.keyword_options`). A package brings it by
an entry point of group ``fedvsr.models``, or a run names it ``package.module:name``.

Three class attributes are optional. They matter if a long or large video is upscaled, in overlapping windows
or with little of the device's memory:

- ``temporal_context: int | None``: how many neighbouring frames on either side an output frame
  depends on, None if on all of them (a recurrent model);
- ``spatial_context: int``: how many input pixels beyond a tile's border make the tile's inside
  (very nearly) equal to that of the whole frame;
- ``features_on_cpu: bool``: whether the features of every frame wait in the CPU's memory; a model has the
  attribute if they can. `fedvsr.models.feature_cache` sets it. The output is then on the CPU too.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedvsr.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

DEFAULT_SPATIAL_CONTEXT = 32
"""The overlap, in input pixels, for a model without ``spatial_context``."""


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
    """Returns how far a model looks.

    A module without these attributes counts as recurrent, and its overlap is `DEFAULT_SPATIAL_CONTEXT`.
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
        scales = ", ".join(map(str, sorted(allowed)))
        raise ConfigError("data.scale", scale, f"{model} upscales by {scales}")
