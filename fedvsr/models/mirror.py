"""Enlarging a video by its own mirror image, for networks that only take some sizes."""

import torch
from torch import Tensor


def mirror_to(x: Tensor, size: int, dimension: int) -> Tensor:
    """Appends a dimension's mirror image, and that one's again, until it has at least that size.

    The border itself is repeated: 1 2 3 becomes 1 2 3 3 2 1 1 2.

    Args:
        x: Of any shape, the dimension not empty.
        size: The size to reach.
        dimension: Which dimension.

    Returns:
        ``x`` itself where the dimension is as large already.
    """
    found = x.shape[dimension]
    if found >= size:
        return x
    index = torch.arange(size, device=x.device) % (2 * found)
    return x.index_select(dimension, torch.where(index < found, index, 2 * found - 1 - index))
