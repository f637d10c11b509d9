"""Extends a video by its mirror image, for networks that accept only some sizes."""

import torch
from torch import Tensor


def mirror_to(x: Tensor, size: int, dimension: int) -> Tensor:
    """Extends a dimension to a size by its mirror image, the mirror image of that, and so on.

    The border itself is repeated: 1 2 3 becomes 1 2 3 3 2 1 1 2.

    Args:
        x: A tensor of any shape; the dimension is not empty.
        size: The size to reach.
        dimension: The dimension to extend.

    Returns:
        The extended tensor; ``x`` itself if the dimension is large enough.
    """
    length = x.shape[dimension]
    if length >= size:
        return x
    index = torch.arange(size, device=x.device) % (2 * length)
    return x.index_select(dimension, torch.where(index < length, index, 2 * length - 1 - index))
