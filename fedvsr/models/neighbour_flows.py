"""The optical flows between neighbouring frames of a video."""

from torch import Tensor, nn

from fedvsr.models.feature_cache import FeatureCache


def neighbour_flows(network: nn.Module, x: Tensor, *, on_cpu: bool) -> tuple[FeatureCache, FeatureCache]:
    """Estimates the flows in both directions.

    Args:
        network: Maps a reference and a support, both (M, 3, h, w), to the flow (M, 2, h, w) from the
            reference to the support, like `fedvsr.models.spynet.SPyNet`.
        x: (N, T, 3, h, w) in [0, 1].
        on_cpu: Whether to keep the flows in the CPU's memory. If so, they are estimated pair by pair,
            otherwise all at once.

    Returns:
        Two caches of T − 1 tensors (N, 2, h, w), in pixels; channel 0 points right, channel 1 down. The flows
        of the first cache lead from frame t to frame t + 1, those of the second from frame t + 1 to frame t.
    """
    T = x.shape[1]
    to_next, to_previous = FeatureCache(on_cpu=on_cpu), FeatureCache(on_cpu=on_cpu)
    pairs_at_once = 1 if on_cpu else max(1, T - 1)
    for start in range(0, T - 1, pairs_at_once):
        stop = start + pairs_at_once
        earlier, later = x[:, start:stop], x[:, start + 1 : stop + 1]
        for flows, reference, support in ((to_next, earlier, later), (to_previous, later, earlier)):
            estimated = network(reference.flatten(0, 1), support.flatten(0, 1))
            for flow in estimated.unflatten(0, reference.shape[:2]).unbind(1):
                flows.append(flow)
    return to_next, to_previous
