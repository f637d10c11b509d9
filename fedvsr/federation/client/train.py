"""Local training: turns a plan and global weights into an update and a report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from fedvsr.config.run import AugmentationConfig, RunConfig
from fedvsr.device import repeatable, select_device
from fedvsr.errors import RecordError, TrainingError
from fedvsr.federation import layout
from fedvsr.federation.client.local_training import LocalTraining, TrainingTask
from fedvsr.federation.client.processes import process_count, train_in_processes
from fedvsr.federation.client.secure_delivery import SecureDelivery
from fedvsr.federation.communication import differences, encode_update, load_sent_weights
from fedvsr.federation.delivery import find_delivery
from fedvsr.federation.owner.clips import dataset_digest, open_training_clips
from fedvsr.federation.records import (
    MAX_LOSS,
    PlanRecord,
    ReportRecord,
    RunRecord,
    TrainingFacts,
    read_record,
    write_record,
)
from fedvsr.federation.sampling import derived_seed
from fedvsr.federation.stored_weights import load_strategy_state
from fedvsr.models.registry import build_model
from fedvsr.models.state import load_state, state_of, state_specs
from fedvsr.privacy.clipping import clip_factor, clip_weights, norm_of
from fedvsr.progress import Progress
from fedvsr.store.base import Store, bytes_digest
from fedvsr.strategies.base import LocalResult
from fedvsr.strategies.registry import build_strategy
from fedvsr.strategies.settings import schedule_of
from fedvsr.training.batches import batches, step_count
from fedvsr.training.kernel_cache import keep_kernels
from fedvsr.training.local import train_locally
from fedvsr.training.memory_errors import clear_memory_errors
from fedvsr.training.objective import Objective
from fedvsr.training.ranks import ONE_PROCESS, Ranks
from fedvsr.training.schedule import RoundSchedule
from fedvsr.video.patches import Augmentation, PatchSampler
from fedvsr.weights import Array, Tensors, TensorSpec, load, serialize


def train_client(
    federation: Store,
    own: Store,
    record: RunRecord,
    round_number: int,
    client: str,
    progress: Progress | None = None,
) -> ReportRecord:
    """Trains the global model on a client's clips and writes its update and report.

    If the client has already delivered for this round, returns its report and trains nothing. Otherwise
    the update depends only on the run, the round, and the client's shards and client state.

    Args:
        federation: The federation's store.
        own: The client's own store.
        record: The run's record.
        round_number: The round. Its plan exists.
        client: The client's name. It is in the plan.
        progress: Reports progress per local step.

    Raises:
        fedvsr.errors.FedVSRError: The client cannot train, for example because it has no shards, its
            clips are too short, the base weights do not match the plan, or the loss is not finite.
    """
    run = record.config.name
    plan = read_record(federation, layout.plan(run, round_number), PlanRecord)
    if client not in plan.clients:
        raise RecordError(f"client {client!r} is not in the plan of round {round_number} of {run!r}")
    if record.config.privacy.secure_aggregation:
        return begin_secure_delivery(federation, own, record, plan, client, progress).finish()
    delivered = find_delivery(federation, plan, client)
    if delivered:
        return delivered
    trained = _train(federation, own, record, plan, client, progress or Progress())
    return _deliver(federation, own, record, plan, client, trained)


def begin_secure_delivery(
    federation: Store,
    own: Store,
    record: RunRecord,
    plan: PlanRecord,
    client: str,
    progress: Progress | None = None,
) -> SecureDelivery:
    """Trains for a round with secure aggregation, unless the client has trained for it already.

    The arguments are those of `train_client`, and the round's plan.

    Returns:
        The client's way through the phases that are left.
    """
    delivery = SecureDelivery(federation, own, record, plan, client)
    if not (delivery.is_trained or delivery.is_finished):
        trained = _train(federation, own, record, plan, client, progress or Progress())
        _keep_client_state(own, record, plan, trained)
        delivery.begin(trained.weights, trained.sent, trained.facts)
    return delivery


@dataclass(frozen=True)
class _Trained:
    """The result of local training.

    Attributes:
        weights: The client's weights.
        sent: The weights that it started from.
        local: The strategy tensors and the client state.
        facts: What the report says about the training.
    """

    weights: Tensors
    sent: Tensors
    local: LocalResult
    facts: TrainingFacts


def _train(
    federation: Store,
    own: Store,
    record: RunRecord,
    plan: PlanRecord,
    client: str,
    progress: Progress,
) -> _Trained:
    """Trains the global model on the client's clips, with the strategy's local term."""
    keep_kernels()
    config = record.config
    strategy = build_strategy(config.strategy.name, config.strategy.options)
    strategy_state = load_strategy_state(federation, plan) if strategy.sends_state else {}
    client_state = _load_client_state(own, record, plan.round) if strategy.stateful else {}
    task = TrainingTask(record, plan, client, strategy_state, client_state)
    sent: Tensors = {}
    sent_bytes = 0

    def load_weights(specs: Mapping[str, TensorSpec]) -> Tensors:
        nonlocal sent, sent_bytes
        sent, sent_bytes = load_sent_weights(federation, config, plan, specs)
        return sent

    processes = process_count(config)
    if processes == 1:
        device = select_device(config.training.device)
        trained = train_task(task, own, load_weights, progress, device)
    else:
        load_weights(_model_specs(config))
        trained = train_in_processes(task, sent, own.uri, processes, progress)
    summary = trained.summary
    _check_loss(summary.loss)
    if summary.skipped_steps:
        progress.message(
            f"{client}: {summary.skipped_steps} of {summary.steps} steps changed no weight: their float16 "
            "gradients overflowed"
        )
    facts = TrainingFacts(
        run=plan.run,
        round=plan.round,
        client=client,
        base_digest=plan.base_digest,
        downloaded_bytes=sent_bytes + _nbytes(strategy_state),
        dataset_digest=dataset_digest(own, layout.training_clips(config.data.dataset), config.data),
        loss=summary.loss,
        clips=trained.clips,
        steps=summary.steps,
        samples=summary.samples,
        seconds=summary.seconds,
        device=trained.device,
        skipped_steps=summary.skipped_steps,
        waiting_seconds=summary.waiting_seconds,
    )
    return _Trained(_clip(trained.weights, sent, plan), sent, trained.local, facts)


def train_task(
    task: TrainingTask,
    own: Store,
    load_weights: Callable[[Mapping[str, TensorSpec]], Tensors],
    progress: Progress,
    device: torch.device,
    ranks: Ranks = ONE_PROCESS,
) -> LocalTraining:
    """Trains in this process, alone or as one of several that call this at the same time. Writes nothing.

    Args:
        task: The task.
        own: The client's own store.
        load_weights: Returns the weights to start from, given the specification of each of them.
        progress: Reports progress per local step.
        device: The device of this process.
        ranks: The processes that train together.

    Raises:
        fedvsr.errors.FedVSRError: The client cannot train.
    """
    record, plan = task.record, task.plan
    config, training = record.config, record.config.training
    clips = open_training_clips(own, config)
    seed = derived_seed(plan.run, config.seed, plan.round, task.client)
    sampler = PatchSampler(
        clips,
        frames=training.frames,
        patch_size=training.patch_size,
        batch_size=training.batch_size,
        seed=seed,
        augmentation=_augmentation(training.augmentation),
        epoch=training.epoch,
    )
    strategy = build_strategy(config.strategy.name, config.strategy.options)
    who = task.title if ranks.size == 1 else f"{task.title}, rank {ranks.rank} of {ranks.size}"
    with repeatable(seed, training.threads), clear_memory_errors(who, device):
        model = build_model(config.model.name, config.data.scale, config.model.options)
        load_state(model, load_weights(state_specs(model)), f"global weights of round {plan.round - 1}")
        model.to(device)
        term = strategy.make_local_term(model, task.strategy_state, task.client_state)
        steps = step_count(sampler, training)
        schedule = RoundSchedule(schedule_of(config, strategy), plan.round, plan.rounds, steps)
        ranks.separate_random_numbers(seed)
        with progress.stage("train", steps) as advance:
            summary = train_locally(
                model,
                batches(sampler, training),
                Objective.of(training, high_frequency=strategy.high_frequency_loss),
                term,
                training,
                device,
                lambda step, loss: advance(step, f"loss {loss:.4f}"),
                first_step=(plan.round - 1) * steps,
                learning_rate_factor=schedule.factor,
                ranks=ranks,
            )
        name = str(device) if ranks.size == 1 else f"{ranks.size} × {device.type}"
        return LocalTraining(state_of(model), term.finish(), summary, len(clips), name)


def _model_specs(config: RunConfig) -> dict[str, TensorSpec]:
    """Returns the specification of every weight of a run's model."""
    with repeatable(config.seed):
        return state_specs(build_model(config.model.name, config.data.scale, config.model.options))


def _clip(weights: Tensors, sent: Tensors, plan: PlanRecord) -> Tensors:
    """Clips the update to the round's clipping norm, if the run has differential privacy."""
    if plan.clipping_norm is None:
        return weights
    norm = norm_of(array for _, array in differences(weights, sent))
    return clip_weights(weights, sent, clip_factor(norm, plan.clipping_norm))


def _augmentation(config: AugmentationConfig) -> Augmentation:
    return Augmentation(
        horizontal_flip=config.flip,
        vertical_flip=config.rotate,
        transpose=config.rotate,
        time_reversal=config.reverse,
    )


def _check_loss(loss: float) -> None:
    if loss > MAX_LOSS:
        raise TrainingError(
            f"the mean loss is {loss:.3g}, and a report takes at most {MAX_LOSS:.0e}; "
            "lower training.learning_rate"
        )


def _deliver(
    federation: Store, own: Store, record: RunRecord, plan: PlanRecord, client: str, trained: _Trained
) -> ReportRecord:
    """Writes the client state, the strategy tensors, the update and, last, the report."""
    update = encode_update(record.config, plan, client, trained.weights, trained.sent)
    _keep_client_state(own, record, plan, trained)
    strategy_tensors = serialize(trained.local.strategy_tensors) if trained.local.strategy_tensors else b""
    if strategy_tensors:
        federation.write(layout.strategy_tensors(plan.run, plan.round, client), strategy_tensors)
    federation.write(layout.update(plan.run, plan.round, client), update)
    report = ReportRecord(
        **trained.facts.model_dump(),
        update_digest=bytes_digest(update),
        update_bytes=len(update),
        extra_digest=bytes_digest(strategy_tensors) if strategy_tensors else None,
        extra_bytes=len(strategy_tensors),
    )
    write_record(federation, layout.report(plan.run, plan.round, client), report)
    return report


def _keep_client_state(own: Store, record: RunRecord, plan: PlanRecord, trained: _Trained) -> None:
    """Writes the client state, if the strategy has one, to the client's own store."""
    if trained.local.client_state:
        key = layout.client_state(plan.run, record.identity, plan.round)
        own.write(key, serialize(trained.local.client_state))


def _load_client_state(own: Store, record: RunRecord, round_number: int) -> dict[str, Array]:
    """Returns the client state after the last earlier round that the client took part in."""
    run, identity = record.config.name, record.identity
    current = layout.client_state(run, identity, round_number)
    earlier = [key for key in own.keys(layout.client_state_folder(run, identity)) if key < current]
    if not earlier:
        return {}
    return load(own.read(earlier[-1]), f"{own.uri}/{earlier[-1]}")


def _nbytes(tensors: Tensors) -> int:
    return sum(array.nbytes for array in tensors.values())
