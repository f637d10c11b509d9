"""Checks what a model returns before it becomes a picture."""

import torch
from torch import Tensor, nn

from fedvsr.errors import ModelError
from fedvsr.inference.wrapper import model_name


def checked_output(model: nn.Module, batch: Tensor, scale: int | None = None) -> Tensor:
    """Applies a model and checks its output.

    Args:
        model: A model that upscales by s.
        batch: (N, T, 3, h, w) in [0, 1].
        scale: The expected s; None accepts any.

    Returns:
        (N, T, 3, s·h, s·w), all finite.

    Raises:
        fedvsr.errors.ModelError: The output has another shape, or a value that is not finite.
    """
    output = model(batch)
    if not isinstance(output, Tensor):
        raise ModelError(
            model_name(model), f"a model must return a tensor, but it returned a {type(output).__name__}"
        )
    factor = scale or max(1, output.shape[-1] // batch.shape[-1] if output.ndim else 1)
    expected = (*batch.shape[:-2], factor * batch.shape[-2], factor * batch.shape[-1])
    if output.shape != expected:
        raise ModelError(
            model_name(model),
            f"for an input of shape {tuple(batch.shape)} its output must have the shape {expected}, but it "
            f"has {tuple(output.shape)}",
        )
    # The smallest and the largest value are NaN if any value is, and need no memory of the output's size.
    if not all(map(torch.isfinite, torch.aminmax(output))):
        raise ModelError(
            model_name(model), "its output must be finite, but it contains NaN or infinite values"
        )
    return output
