"""Weights and videos that depend on no random generator, so that outputs can be written down."""

import torch


def filled(model, gain=1.2):
    """Gives a model weights that depend on no random generator, and flows of a pixel or two."""
    with torch.no_grad():
        for number, (name, parameter) in enumerate(model.named_parameters()):
            wave = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 1.7 + number)
            size = 0.3 if name.startswith("spynet") else gain
            parameter.copy_((size * wave / parameter[0].numel() ** 0.5).view_as(parameter))
    return model.eval()


def video(*shape):
    """Returns a tensor of a shape, in [0, 1]."""
    count = torch.Size(shape).numel()
    return (torch.sin(torch.arange(count, dtype=torch.float64) * 0.37) * 0.5 + 0.5).float().view(shape)
