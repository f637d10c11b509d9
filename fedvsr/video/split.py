"""Splits one collection of videos among clients, for studies of heterogeneity."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fedvsr.errors import ConfigError, UnknownNameError
from fedvsr.video.listing import natural_key

Split = list[list[str]]
"""The names of each client's videos."""


def scheme_names() -> tuple[str, ...]:
    """Returns the names of all schemes, sorted."""
    return tuple(sorted(_SCHEMES))


def split_videos(
    videos: Sequence[str],
    client_count: int,
    scheme: str,
    seed: int,
    alpha: float = 0.1,
    labels: Mapping[str, str] | None = None,
) -> tuple[tuple[str, ...], ...]:
    """Splits videos among clients: each video goes to one client, and each client gets at least one video.

    The result depends on the set of videos, not on their order. The schemes are:

    - ``equal``: consecutive parts of the sorted videos. Their sizes differ by at most one, and the first
      clients have more.
    - ``quantity-skew``: consecutive parts of the sorted videos. The size for client i, counted from 0, is
      proportional to exp(alpha·i).
    - ``dirichlet``: for each label, the clients' shares are drawn from a symmetric Dirichlet distribution,
      and the label's videos are split in random order. Source: Hsu et al., "Measuring the Effects of
      Non-Identical Data Distribution for Federated Visual Classification", 2019,
      https://arxiv.org/abs/1909.06335.

    Shares are rounded to whole videos by the largest remainder. A client whose share is rounded to zero gets
    one video from the client that has the most at that moment. With ``dirichlet`` it is a random one of that
    client's videos.

    Args:
        videos: The videos' names, without duplicates.
        client_count: Number of clients, from 1 to the number of videos.
        scheme: One of `scheme_names`.
        seed: The seed of the draws of ``dirichlet``, at least 0. The other schemes draw nothing.
        alpha: The heterogeneity. For ``quantity-skew``: finite; 0 means equal shares. For
            ``dirichlet``: above 0; smaller is more heterogeneous. ``equal`` ignores it.
        labels: The label of each video. Only ``dirichlet`` needs it.

    Returns:
        The names of each client's videos, in natural order.

    Raises:
        fedvsr.errors.ConfigError: A setting is out of range, or a video is a duplicate or has no label.
        fedvsr.errors.UnknownNameError: ``scheme`` is unknown.
    """
    if scheme not in _SCHEMES:
        raise UnknownNameError("scheme", scheme, _SCHEMES)
    if not 1 <= client_count <= len(videos):
        raise ConfigError(
            "clients.count",
            client_count,
            f"each client needs at least one whole video, so with {len(videos)} videos "
            f"it must be between 1 and {len(videos)}",
        )
    if seed < 0:
        raise ConfigError("seed", seed, "it must be at least 0")
    ordered = sorted(set(videos), key=natural_key)
    if len(ordered) < len(videos):
        duplicate = next(video for video in ordered if videos.count(video) > 1)
        raise ConfigError("videos", duplicate, "list each video only once")
    split = _SCHEMES[scheme](ordered, client_count, seed, alpha, labels)
    return tuple(tuple(sorted(part, key=natural_key)) for part in split)


def client_shares(client_count: int, scheme: str, alpha: float) -> NDArray[np.float64]:
    """Returns numbers that the clients' shares are proportional to.

    Args:
        client_count: Number of clients.
        scheme: ``equal`` or ``quantity-skew``: exp(alpha·i) for client i, counted from 0.
        alpha: The heterogeneity, finite; 0 means equal shares. ``equal`` ignores it.

    Raises:
        fedvsr.errors.ConfigError: Alpha is not finite.
    """
    if scheme == "equal":
        return np.ones(client_count)
    if not np.isfinite(alpha):
        raise ConfigError("clients.alpha", alpha, "it must be a finite number")
    exponents = alpha * np.arange(client_count)
    # Only ratios matter. With 0 as the largest exponent, no power overflows.
    shares: NDArray[np.float64] = np.exp(exponents - exponents.max())
    return shares


def count_below(client_count: int, scheme: str, alpha: float, total: int, least: int) -> int:
    """Returns how many clients' exact shares of a total are below a least number.

    Args:
        client_count: Number of clients.
        scheme: See `client_shares`, as for ``alpha``.
        alpha: The heterogeneity.
        total: What is divided.
        least: The least number.
    """
    shares = client_shares(client_count, scheme, alpha)
    return int((shares / shares.sum() * total < least).sum())


def _equal(
    videos: list[str], client_count: int, seed: int, alpha: float, labels: Mapping[str, str] | None
) -> Split:
    return _cut_into_parts(videos, _round_shares(client_shares(client_count, "equal", alpha), len(videos)))


def _quantity_skew(
    videos: list[str], client_count: int, seed: int, alpha: float, labels: Mapping[str, str] | None
) -> Split:
    counts = _round_shares(client_shares(client_count, "quantity-skew", alpha), len(videos))
    while (counts == 0).any():
        counts[np.argmax(counts)] -= 1
        counts[np.argmin(counts)] += 1
    return _cut_into_parts(videos, counts)


def _dirichlet(
    videos: list[str], client_count: int, seed: int, alpha: float, labels: Mapping[str, str] | None
) -> Split:
    if not 0 < alpha < float("inf"):
        raise ConfigError("clients.alpha", alpha, "it must be a finite number above 0")
    if labels is None:
        raise ConfigError("clients.labels", None, "the scheme 'dirichlet' needs the label of each video")
    random = np.random.default_rng(seed)
    split: Split = [[] for _ in range(client_count)]
    for _, label_videos in sorted(_group_by_label(videos, labels).items()):
        shuffled = [label_videos[index] for index in random.permutation(len(label_videos))]
        counts = _round_shares(random.dirichlet(np.full(client_count, alpha)), len(shuffled))
        for client_videos, part in zip(split, _cut_into_parts(shuffled, counts), strict=True):
            client_videos.extend(part)
    for client_videos in split:
        if not client_videos:
            largest = max(split, key=len)
            client_videos.append(largest.pop(int(random.integers(len(largest)))))
    return split


def _group_by_label(videos: list[str], labels: Mapping[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for video in videos:
        if video not in labels:
            raise ConfigError("clients.labels", video, "the scheme 'dirichlet' needs this video's label")
        groups.setdefault(labels[video], []).append(video)
    return groups


def _round_shares(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Rounds shares to counts that sum to ``total``, by the largest remainder; ties go to the first."""
    quotas = shares / shares.sum() * total
    counts: NDArray[np.int64] = np.floor(quotas).astype(np.int64)
    remaining = total - int(counts.sum())
    counts[np.argsort(counts - quotas, kind="stable")[:remaining]] += 1
    return counts


def _cut_into_parts(videos: list[str], counts: NDArray[np.int64]) -> Split:
    """Cuts a list of videos into consecutive parts with these numbers of videos."""
    ends = np.cumsum(counts)
    return [videos[end - count : end] for count, end in zip(counts, ends, strict=True)]


_Scheme = Callable[[list[str], int, int, float, Mapping[str, str] | None], Split]

_SCHEMES: dict[str, _Scheme] = {
    "equal": _equal,
    "quantity-skew": _quantity_skew,
    "dirichlet": _dirichlet,
}
