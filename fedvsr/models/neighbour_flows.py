"""The optical flow between every two neighbouring frames of a video."""

from torch import Tensor, nn


def neighbour_flows(network: nn.Module, x: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Estimates the flows in both directions.

    Args:
        network: Maps a reference and a support, both (M, 3, h, w), to the flow (M, 2, h, w) from the
            first to the second, as `fedvsr.models.spynet.SPyNet` does.
        x: (N, T, 3, h, w) in [0, 1].

    Returns:
        Twice T − 1 tensors (N, 2, h, w), in pixels, channel 0 to the right, channel 1 down. The first
        ones lead from frame t to frame t + 1, the second ones from frame t + 1 to frame t.
    """
    N, T = x.shape[:2]
    if T == 1:
        return (), ()
    earlier, later = x[:, :-1].flatten(0, 1), x[:, 1:].flatten(0, 1)
    to_next, to_previous = network(earlier, later), network(later, earlier)
    shape = (N, T - 1, *to_next.shape[1:])
    return to_next.view(shape).unbind(1), to_previous.view(shape).unbind(1)
