"""The start of a run: checks its settings, writes its record and initial weights, and plans its rounds."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fedvsr
from fedvsr.codecs.quantiser import QuantisingCodec
from fedvsr.codecs.registry import EXACT, build_codec, download_codec_names
from fedvsr.config.run import DataConfig, RunConfig
from fedvsr.errors import ConfigError, NotFoundError, WeightsError
from fedvsr.federation import layout
from fedvsr.federation.communication import write_sent_weights
from fedvsr.federation.privacy_budget import accounting, planned_rounds
from fedvsr.federation.records import (
    MAY_CHANGE,
    PlanRecord,
    RoundRecord,
    RunRecord,
    read_record,
    write_record,
)
from fedvsr.federation.runs import digests_after_round, find_run
from fedvsr.federation.sampling import select_clients
from fedvsr.federation.server.optimiser import find_server_optimiser
from fedvsr.federation.stored_weights import load_weights
from fedvsr.privacy.secure_aggregation.canonical import MAX_CLIENTS, MIN_CLIENTS
from fedvsr.registry import is_reference
from fedvsr.store.base import Store, bytes_digest
from fedvsr.strategies.base import Strategy
from fedvsr.strategies.registry import build_strategy
from fedvsr.strategies.settings import averaging_of, schedule_of
from fedvsr.video.degradations.registry import get_degradation
from fedvsr.weights import Tensors, find_misfit, serialize, specs_of

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ValidatedRun:
    """A run that is valid. Nothing has been written yet.

    Attributes:
        config: The run, with its clients.
        stored: Its record in the store; None for a new run.
        weights: The initial weights of a new run; empty for a stored run.
        parameters: Number of trainable parameters of a new run.
        warnings: What the user may not have meant, as sentences.
    """

    config: RunConfig
    stored: RunRecord | None
    weights: Tensors = field(default_factory=dict)
    parameters: int = 0
    warnings: tuple[str, ...] = ()

    def with_weights(self, weights: Tensors) -> "ValidatedRun":
        """Returns the new run with other initial weights.

        Raises:
            fedvsr.errors.WeightsError: They do not fit the model.
        """
        problem = find_misfit(specs_of(weights), specs_of(self.weights))
        if problem:
            raise WeightsError(
                f"warm_start {self.config.warm_start!r} does not fit {self.config.model.name}: {problem}"
            )
        return replace(self, weights=weights)


def prepare_run(store: Store, config: RunConfig, initial: Tensors | None = None) -> RunRecord:
    """Checks a run, then writes its record and initial weights, or continues the stored run.

    Args:
        store: The federation's store.
        config: The run, with its clients.
        initial: Weights that a new run starts from; None for seeded random ones.

    Raises:
        fedvsr.errors.InputError: As `validate_run`.
        fedvsr.errors.WeightsError: The initial weights do not fit the model.
    """
    run = validate_run(config, find_run(store, config.name))
    if initial is not None and run.stored is None:
        run = run.with_weights(initial)
    return write_run(store, run)


def validate_run(config: RunConfig, stored: RunRecord | None) -> ValidatedRun:
    """Checks a run's settings and, for a new run, builds its model. Writes nothing.

    A stored run continues with the same settings. Only two things may change: the number of rounds may be
    raised unless a schedule or a uniform average depends on it, and the settings of its Jobs may differ.

    Args:
        config: The run, with its clients.
        stored: The record of this run in the store; None for a new run.

    Raises:
        fedvsr.errors.InputError: A name is unknown, or a value is not allowed or differs from the stored
            run's, or a file of pretrained weights does not exist.
        fedvsr.errors.WeightsError: Pretrained weights do not fit the model.
    """
    from fedvsr.models.registry import check_model_name

    check_settings(config)
    check_model_name(config.model.name)
    if not config.federation.clients:
        raise ConfigError("federation.clients", [], "name at least one client")
    if stored is None:
        return _validate_new_run(config)
    _check_continuation(stored, config)
    return ValidatedRun(config, stored)


def write_run(store: Store, run: ValidatedRun) -> RunRecord:
    """Writes a run's record, and the initial weights of a new run.

    Returns:
        The record. A stored run with the same settings keeps its record, and nothing is written.
    """
    name = run.config.name
    if run.stored is None:
        data = serialize(run.weights)
        store.write(layout.global_weights(name, layout.INITIAL_ROUND), data)
        record = RunRecord(
            config=run.config,
            initial_digest=bytes_digest(data),
            parameters=run.parameters,
            fedvsr_version=fedvsr.__version__,
        )
    else:
        record = run.stored.model_copy(update={"config": run.config})
    if record != run.stored:
        write_record(store, layout.config(name), record)
    return record


def check_settings(config: RunConfig, *, import_references: bool = True) -> None:
    """Checks those settings of a run that can be checked without a store and without the model's code.

    Args:
        config: The settings.
        import_references: Whether to import and check a strategy, degradation or codec by reference too;
            False if its package may not be installed on this machine.

    Raises:
        fedvsr.errors.InputError: A name is unknown, or a value is not allowed.
    """
    if import_references or not is_reference(config.data.degradation):
        _check_degradation(config.data)
    if import_references or not is_reference(config.strategy.name):
        strategy = build_strategy(config.strategy.name, config.strategy.options)
        _check_quorum(config, strategy)
        _check_privacy(config, strategy)
        if import_references or not is_reference(config.server.optimiser):
            find_server_optimiser(config, strategy)
        schedule_of(config, strategy)
        averaging_of(config, strategy)
    _check_codecs(config, import_references=import_references)


def _check_quorum(config: RunConfig, strategy: Strategy) -> None:
    """Refuses a quorum with which a round may have fewer updates than the strategy needs."""
    quorum, needed = config.federation.quorum, strategy.min_updates
    if quorum < needed:
        raise ConfigError(
            "federation.quorum",
            quorum,
            f"strategy {config.strategy.name!r} with its options needs {needed} updates in every round: set "
            f"{needed} or more",
        )


def _check_privacy(config: RunConfig, strategy: Strategy) -> None:
    """Refuses what cannot work with secure aggregation or differential privacy.

    Raises:
        fedvsr.errors.ConfigError: The strategy needs more than the sum of the updates, both are set, a round
            has too few or too many clients, or the budget does not allow one round.
    """
    if config.privacy.differential_privacy:
        _check_differential_privacy(config, strategy)
    if config.privacy.secure_aggregation:
        _check_secure_aggregation(config, strategy)


def _check_secure_aggregation(config: RunConfig, strategy: Strategy) -> None:
    _check_sum_is_enough(
        config.strategy.name,
        strategy,
        "privacy.secure_aggregation shows the server only the sum of the updates",
        "choose a strategy that weighs clients, such as fedvsr or fedavg",
    )
    clients = len(config.federation.clients)
    count = config.federation.clients_per_round or clients
    if clients and not MIN_CLIENTS <= count <= MAX_CLIENTS:
        raise ConfigError(
            "federation.clients_per_round",
            count,
            f"privacy.secure_aggregation takes {MIN_CLIENTS} to {MAX_CLIENTS} clients a round",
        )


def _check_differential_privacy(config: RunConfig, strategy: Strategy) -> None:
    if config.privacy.secure_aggregation:
        raise ConfigError(
            "privacy.differential_privacy",
            True,
            "the server adds the noise to updates that it sees; it cannot be combined with "
            "privacy.secure_aggregation yet",
        )
    _check_sum_is_enough(
        config.strategy.name,
        strategy,
        "privacy.differential_privacy releases only a noisy sum of the updates",
        "choose a strategy such as fedvsr, fedavg or fedprox",
    )
    if config.federation.clients and not planned_rounds(config):
        raise ConfigError(
            "privacy.epsilon",
            config.privacy.epsilon,
            f"one round takes ε {accounting(config).epsilon(1):.3g}; raise the budget, the noise multiplier, "
            "or the number of clients that are drawn from",
        )


def _check_sum_is_enough(name: str, strategy: Strategy, promise: str, advice: str) -> None:
    """Refuses a strategy that needs more than the weighted sum of the updates.

    Args:
        name: The strategy's name in the configuration.
        strategy: The strategy.
        promise: What the setting promises.
        advice: What to choose instead.
    """
    reason = strategy.needs_updates
    if not reason and type(strategy).aggregate is not Strategy.aggregate:
        reason = "it has an aggregation of its own"
    if reason:
        raise ConfigError("strategy.name", name, f"{promise}: {reason}; {advice}")


def _clipping_norm(store: Store, config: RunConfig, round_number: int) -> float | None:
    """Returns the clipping norm of a round: the configured one, or what the round before made of it."""
    if not config.privacy.differential_privacy:
        return None
    if round_number == 1 or config.privacy.clipping == "fixed":
        return config.privacy.clipping_norm
    before = read_record(store, layout.round_record(config.name, round_number - 1), RoundRecord)
    return before.privacy.next_clipping_norm if before.privacy else config.privacy.clipping_norm


def _check_codecs(config: RunConfig, *, import_references: bool) -> None:
    upload, download = config.communication.upload, config.communication.download
    if import_references or not is_reference(upload):
        codec = build_codec(upload)
        if config.privacy.secure_aggregation and not isinstance(codec, QuantisingCodec):
            raise ConfigError(
                "communication.upload",
                upload,
                "privacy.secure_aggregation adds up integers: set int8, int4 or int2",
            )
    if (import_references or not is_reference(download)) and not build_codec(download).downloads:
        allowed = ", ".join(download_codec_names())
        raise ConfigError(
            "communication.download",
            download,
            f"global weights travel as one of {allowed}: fewer bits would lose more than a round gains",
        )


def _check_degradation(data: DataConfig) -> None:
    degradation = get_degradation(data.degradation)
    if data.scale not in degradation.scales:
        allowed = ", ".join(str(scale) for scale in degradation.scales)
        raise ConfigError(
            "data.scale", data.scale, f"the degradation {degradation.name!r} is defined for {allowed}"
        )


def plan_round(store: Store, record: RunRecord, round_number: int) -> PlanRecord:
    """Returns a round's plan, and writes it if the store does not have it.

    Raises:
        fedvsr.errors.NotFoundError: The previous round has not ended.
    """
    config = record.config
    key = layout.plan(config.name, round_number)
    before = digests_after_round(store, record, round_number - 1)
    federation = config.federation
    sent_digest = None
    if config.communication.download != EXACT:
        weights = load_weights(store, layout.global_weights(config.name, round_number - 1), before.weights)
        sent_digest = write_sent_weights(store, config, round_number, weights)
    plan = PlanRecord(
        run=config.name,
        round=round_number,
        rounds=federation.rounds,
        clients=select_clients(
            federation.clients, federation.clients_per_round, config.name, config.seed, round_number
        ),
        base_digest=before.weights,
        strategy_digest=before.strategy_state,
        quorum=federation.quorum,
        deadline_seconds=federation.deadline_seconds,
        clipping_norm=_clipping_norm(store, config, round_number),
        sent_digest=sent_digest,
    )
    try:
        stored = read_record(store, key, PlanRecord)
    except NotFoundError:
        stored = None
    if stored != plan:
        write_record(store, key, plan)
    return plan


def _validate_new_run(config: RunConfig) -> ValidatedRun:
    # Imported here because steps that only read a run must work without PyTorch.
    from fedvsr.models.pretrained import find_random_frozen, load_pretrained
    from fedvsr.models.state import state_of

    model = _build_model(config)
    training = config.training
    weights = load_pretrained(model, state_of(model), training.pretrained)
    warnings: list[str] = []
    if not config.warm_start:
        warnings = find_random_frozen(model, training.parameters, training.pretrained)
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    strategy = build_strategy(config.strategy.name, config.strategy.options)
    # A strategy may refuse a model only when it makes the local term.
    strategy.make_local_term(model, {}, {}).finish()
    return ValidatedRun(config, None, weights, parameters, tuple(warnings))


def _build_model(config: RunConfig) -> "nn.Module":
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


def _check_continuation(stored: RunRecord, config: RunConfig) -> None:
    difference = _first_difference(_fixed_settings(stored.config), _fixed_settings(config))
    if difference:
        path, was, now = difference
        raise ConfigError(
            path, now, f"run {config.name!r} was started with {was!r}; keep that or choose another name"
        )
    rounds = stored.config.federation.rounds
    if config.federation.rounds < rounds:
        raise ConfigError(
            "federation.rounds",
            config.federation.rounds,
            f"run {config.name!r} was started with {rounds}, which can only be raised",
        )
    if config.federation.rounds == rounds:
        return
    reason = _why_rounds_are_fixed(config)
    if reason:
        raise ConfigError(
            "federation.rounds",
            config.federation.rounds,
            f"run {config.name!r} was started with {rounds}, and {reason}; keep that, or start another run "
            "from its weights with warm_start",
        )


def _why_rounds_are_fixed(config: RunConfig) -> str | None:
    """Returns why the number of rounds cannot be raised: earlier rounds depended on it; None if it can."""
    strategy = build_strategy(config.strategy.name, config.strategy.options)
    if not schedule_of(config, strategy).is_constant:
        return "its schedule spreads the learning rate over them"
    if averaging_of(config, strategy).averaging == "uniform":
        return "server.averaging_start is a share of them"
    return None


def _fixed_settings(config: RunConfig) -> dict[str, Any]:
    """Returns the settings of a run that may not change."""
    settings = config.all_values()
    for section, fields in MAY_CHANGE.items():
        for name in tuple(settings[section]) if isinstance(fields, bool) else fields:
            del settings[section][name]
    # A file may be moved once its weights are in the store.
    settings["training"]["pretrained"] = {
        part: Path(file.path).name for part, file in config.training.pretrained.items()
    }
    return settings


def _first_difference(was: object, now: object, path: str = "") -> tuple[str, object, object] | None:
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(was.keys() | now.keys()):
            difference = _first_difference(was.get(key), now.get(key), f"{path}.{key}" if path else str(key))
            if difference:
                return difference
        return None
    return None if was == now else (path, was, now)
