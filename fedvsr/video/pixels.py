"""A clip's pixels, in memory or not: what patches are cut from."""

from typing import Any, Protocol


class Pixels(Protocol):
    """A clip's uint8 (T, H, W, 3) pixels: an array in memory, or frames that are read when needed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, (T, H, W, 3)."""

    def __getitem__(self, key: Any, /) -> Any:
        """Returns the pixels selected by up to three slices. An implementation may read only these."""


def ranges_of(key: Any, shape: tuple[int, ...]) -> tuple[range, range, range]:
    """Returns the frames, rows and columns that up to three slices select.

    Args:
        key: A slice, or a tuple of slices.
        shape: The shape of the pixels, (T, H, W, 3).
    """
    slices = list(key if isinstance(key, tuple) else (key,))
    slices += [slice(None)] * (3 - len(slices))
    frames, rows, columns = (range(length)[part] for part, length in zip(slices, shape[:3], strict=True))
    return frames, rows, columns
