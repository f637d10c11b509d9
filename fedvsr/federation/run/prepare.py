"""The first step of a run: its record, its initial weights, and the rounds that are left."""

from typing import TYPE_CHECKING

import fedvsr
from fedvsr.config.run import DataConfig, RunConfig
from fedvsr.errors import ConfigError, NotFoundError, WeightsError
from fedvsr.federation import layout
from fedvsr.federation.records import (
    MAY_CHANGE,
    PlanRecord,
    RunRecord,
    read_record,
    write_record,
)
from fedvsr.federation.runs import digests_after, find_run
from fedvsr.federation.sampling import select_clients
from fedvsr.registry import is_reference
from fedvsr.store.base import Store, bytes_digest
from fedvsr.strategies.registry import build_strategy
from fedvsr.video.degradations.registry import get_degradation
from fedvsr.weights import Tensors, check_fit, serialize, specs_of

if TYPE_CHECKING:
    from torch import nn


def prepare_run(store: Store, config: RunConfig, initial: Tensors | None = None) -> RunRecord:
    """Writes a run's record and initial weights, or finds those of a run that was begun.

    A run that was begun goes on as it is; only its number of rounds may be raised, and how its Jobs
    run may be changed.

    Args:
        store: The federation's store.
        config: The run, with its clients.
        initial: Weights to start from; seeded random ones when None.

    Raises:
        fedvsr.errors.ConfigError: A value is not allowed, or differs from that of the begun run.
        fedvsr.errors.WeightsError: The initial weights do not fit the model.
    """
    # Imported here because whoever only reads a run, the aggregation among them, needs no PyTorch.
    from fedvsr.models.state import state_of

    begun = check_run(store, config)
    if begun:
        return _continue_run(store, begun, config)
    strategy = build_strategy(config.strategy.name, config.strategy.options)
    model = new_model(config)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    strategy.make_local_term(model, {}, {}).finish()
    tensors: Tensors = state_of(model)
    if initial is not None:
        problem = check_fit(specs_of(initial), specs_of(tensors))
        if problem:
            raise WeightsError(
                f"warm_start {config.warm_start!r} does not fit {config.model.name}: {problem}"
            )
        tensors = initial
    data = serialize(tensors)
    store.write(layout.global_weights(config.name, layout.INITIAL_ROUND), data)
    record = RunRecord(
        config=config,
        initial_digest=bytes_digest(data),
        parameters=sum(parameter.numel() for parameter in trainable),
        fedvsr_version=fedvsr.__version__,
    )
    write_record(store, layout.config(config.name), record)
    return record


def new_model(config: RunConfig) -> "nn.Module":
    """Builds a run's model with the random weights of its seed.

    Raises:
        fedvsr.errors.ConfigError: The model refuses its options or has nothing to train.
    """
    from fedvsr.device import repeatable
    from fedvsr.models.registry import build_model

    with repeatable(config.seed):
        model = build_model(config.model.name, config.data.scale, config.model.options)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("model.name", config.model.name, "it must have parameters to train")
    return model


def check_run(store: Store, config: RunConfig) -> RunRecord | None:
    """Checks what can be checked of a run before anything is written.

    Returns:
        The record of the run if it was begun, else None.

    Raises:
        fedvsr.errors.InputError: A name is unknown, a value is not allowed, or one differs from that
            of the begun run.
    """
    from fedvsr.models.registry import check_model_name

    check_settings(config)
    check_model_name(config.model.name)
    if not config.federation.clients:
        raise ConfigError("federation.clients", [], "name at least one client")
    begun = find_run(store, config.name)
    if begun:
        _check_continuation(begun, config)
    return begun


def check_settings(config: RunConfig, *, import_references: bool = True) -> None:
    """Checks what can be checked of settings without a store and without the model's code.

    Args:
        config: The settings.
        import_references: Whether a strategy or degradation ``package.module:name`` is checked too; False if
            its package need not be installed here.

    Raises:
        fedvsr.errors.InputError: A name is unknown, or a value is not allowed.
    """
    if import_references or not is_reference(config.data.degradation):
        _check_degradation(config.data)
    if import_references or not is_reference(config.strategy.name):
        build_strategy(config.strategy.name, config.strategy.options)


def _check_degradation(data: DataConfig) -> None:
    degradation = get_degradation(data.degradation)
    if data.scale not in degradation.scales:
        allowed = ", ".join(str(scale) for scale in degradation.scales)
        raise ConfigError(
            "data.scale", data.scale, f"the degradation {degradation.name!r} is defined for {allowed}"
        )


def plan_round(store: Store, record: RunRecord, round_number: int) -> PlanRecord:
    """Writes a round's plan, or finds it.

    Raises:
        fedvsr.errors.NotFoundError: The previous round has not ended.
    """
    config = record.config
    key = layout.plan(config.name, round_number)
    base, strategy_digest = digests_after(store, record, round_number - 1)
    federation = config.federation
    plan = PlanRecord(
        run=config.name,
        round=round_number,
        rounds=federation.rounds,
        clients=select_clients(
            federation.clients, federation.clients_per_round, config.name, config.seed, round_number
        ),
        base_digest=base,
        strategy_digest=strategy_digest,
        quorum=federation.quorum,
        deadline_seconds=federation.deadline_seconds,
    )
    try:
        found = read_record(store, key, PlanRecord)
    except NotFoundError:
        found = None
    if found != plan:
        write_record(store, key, plan)
    return plan


def _continue_run(store: Store, begun: RunRecord, config: RunConfig) -> RunRecord:
    # What differs is what may: `check_run` has looked.
    if config != begun.config:
        begun = begun.model_copy(update={"config": config})
        write_record(store, layout.config(config.name), begun)
    return begun


def _check_continuation(begun: RunRecord, config: RunConfig) -> None:
    difference = _first_difference(
        begun.config.model_dump(exclude=MAY_CHANGE),
        config.model_dump(exclude=MAY_CHANGE),
    )
    if difference:
        field, was, now = difference
        raise ConfigError(
            field, now, f"run {config.name!r} was begun with {was!r}; keep that or choose another name"
        )
    rounds = begun.config.federation.rounds
    if config.federation.rounds < rounds:
        raise ConfigError(
            "federation.rounds",
            config.federation.rounds,
            f"run {config.name!r} was begun with {rounds}, which can only be raised",
        )


def _first_difference(was: object, now: object, path: str = "") -> tuple[str, object, object] | None:
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(was.keys() | now.keys()):
            found = _first_difference(was.get(key), now.get(key), f"{path}.{key}" if path else str(key))
            if found:
                return found
        return None
    return None if was == now else (path, was, now)
