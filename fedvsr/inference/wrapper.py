"""A model that computes its output from those of another model."""

from torch import nn

from fedvsr.models.base import contexts, size_multiple


class Wrapper(nn.Module):
    """Has the name, the contexts and the size multiple of the model that it wraps.

    Args:
        model: The other model; it is not changed.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.temporal_context, self.spatial_context = contexts(model).temporal, contexts(model).spatial
        self.size_multiple = size_multiple(model)


def model_name(model: nn.Module) -> str:
    """Returns the name of a model's class; that of the wrapped model if it is a `Wrapper`."""
    return model_name(model.model) if isinstance(model, Wrapper) else type(model).__name__
