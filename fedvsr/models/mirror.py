"""Enlarging a video by its own mirror image, for networks that take only some sizes."""

import torch
from torch import Tensor


def mirror_to(x: Tensor, size: int, dimension: int) -> Tensor:
    """Appends a dimension's mirror image, and the mirror image of that, until it has the size.

    The border itself is repeated: 1 2 3 becomes 1 2 3 3 2 1 1 2.

    Args:
        x: Of any shape, the dimension not empty.
        size: The size to reach.
        dimension: Which dimension.

    Returns:
        ``x`` itself if the dimension is large enough already.
    """
    length = x.shape[dimension]
    if length >= size:
        return x
    index = torch.arange(size, device=x.device) % (2 * length)
    return x.index_select(dimension, torch.where(index < length, index, 2 * length - 1 - index))
