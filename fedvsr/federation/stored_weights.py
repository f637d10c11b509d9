"""Reads weights and strategy state from a store, and checks them against the digests in records."""

from fedvsr.federation import layout
from fedvsr.federation.records import PlanRecord
from fedvsr.store.base import Store, check_bytes
from fedvsr.weights import Array, load


def load_weights(store: Store, key: str, digest: str) -> dict[str, Array]:
    """Reads a weights file and checks its SHA-256.

    Args:
        store: The store.
        key: The file's key.
        digest: The SHA-256 that a record has for it.

    Returns:
        The tensors by name, sorted.

    Raises:
        fedvsr.errors.NotFoundError: The file does not exist.
        fedvsr.errors.DataError: It has another digest, or is not a complete weights file.
    """
    name = f"{store.uri}/{key}"
    data = store.read(key)
    check_bytes(data, digest, name)
    return load(data, name)


def load_base_weights(store: Store, plan: PlanRecord) -> dict[str, Array]:
    """Reads the global weights that a round starts from; raises as `load_weights` does."""
    return load_weights(store, layout.global_weights(plan.run, plan.round - 1), plan.base_digest)


def load_strategy_state(store: Store, plan: PlanRecord) -> dict[str, Array]:
    """Reads the strategy state after the previous round; empty if the strategy has none.

    Raises as `load_weights` does.
    """
    if not plan.strategy_digest:
        return {}
    return load_weights(store, layout.strategy_state(plan.run, plan.round - 1), plan.strategy_digest)
