"""The random choice of a round's clients, and the seeds of a round."""

import hashlib

import numpy as np


def select_clients(
    clients: tuple[str, ...], count: int, run: str, seed: int, round_number: int
) -> tuple[str, ...]:
    """Draws a round's clients without replacement, as a function of (run, seed, round).

    Args:
        clients: All clients, in any order.
        count: Number of clients to draw; 0 for all.
        run: The run's name.
        seed: The run's seed.
        round_number: The round.

    Returns:
        The names, sorted.
    """
    ordered = sorted(clients)
    if not count or count >= len(ordered):
        return tuple(ordered)
    drawn = generator(run, seed, round_number).choice(len(ordered), size=count, replace=False)
    return tuple(ordered[index] for index in sorted(drawn))


def failing_clients(
    clients: tuple[str, ...], count: int, run: str, seed: int, round_number: int
) -> frozenset[str]:
    """Draws the clients of a round that fail on purpose, as a function of (run, seed, round).

    Args:
        clients: The round's clients.
        count: How many of them fail.
        run: The run's name.
        seed: The run's seed.
        round_number: The round.

    Returns:
        Their names.
    """
    if not count:
        return frozenset()
    # No client has this name, so the draw is independent of the other draws of the round.
    drawn = generator(run, seed, round_number, "/failing").choice(len(clients), size=count, replace=False)
    ordered = sorted(clients)
    return frozenset(ordered[index] for index in drawn)


def generator(run: str, seed: int, round_number: int, client: str = "") -> np.random.Generator:
    """Returns the random generator of a round, or of one client in it."""
    return np.random.default_rng(derived_seed(run, seed, round_number, client))


def derived_seed(run: str, seed: int, round_number: int, client: str = "") -> int:
    """Returns a seed from 0 to 2³² − 1: the same for the same arguments on every machine."""
    digest = hashlib.sha256(f"{run}/{seed}/{round_number}/{client}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
