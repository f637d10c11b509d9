"""A client's part in a round: from the plan and the global weights to an update and a report."""

from collections.abc import Mapping

import torch
from torch import nn

from fedvsr.config.run import RunConfig
from fedvsr.device import repeatable, select_device
from fedvsr.errors import RecordError, TrainingError
from fedvsr.federation import layout
from fedvsr.federation.delivery import find_delivery
from fedvsr.federation.owner.clips import dataset_digest, open_clips
from fedvsr.federation.records import (
    MAX_LOSS,
    PlanRecord,
    ReportRecord,
    RunRecord,
    read_record,
    write_record,
)
from fedvsr.federation.runs import load_run
from fedvsr.federation.sampling import derived_seed
from fedvsr.federation.stored_weights import open_weights
from fedvsr.models.registry import build_model
from fedvsr.models.state import load_state, state_of
from fedvsr.progress import Progress
from fedvsr.store.base import Store, bytes_digest
from fedvsr.store.workspace import Workspace
from fedvsr.strategies.base import LocalTerm
from fedvsr.strategies.registry import build_strategy
from fedvsr.training.batches import batches, step_count
from fedvsr.training.local import TrainingSummary, train_locally
from fedvsr.training.objective import Objective
from fedvsr.video.patches import PatchSampler
from fedvsr.weights import Array, serialize


def train_client(
    workspace: Workspace, run: str, round_number: int, client: str, progress: Progress | None = None
) -> ReportRecord:
    """Trains the global model on a client's clips and writes its update and report.

    Where the client has delivered for this round already, its report is returned and nothing is
    trained. Otherwise the update is a function of the run, the round and the client's shards.

    Args:
        workspace: The federation's store and the client's.
        run: The run's name.
        round_number: The round, whose plan exists.
        client: The client's name, in the plan.
        progress: Shows the local steps.

    Raises:
        fedvsr.errors.FedVSRError: The client cannot train: no shards, clips too short, weights that
            are not what the plan says, a loss that is not finite.
    """
    federation, own = workspace.federation(), workspace.client(client)
    plan = read_record(federation, layout.plan(run, round_number), PlanRecord)
    if client not in plan.clients:
        raise RecordError(f"client {client!r} is not in the plan of round {round_number} of {run!r}")
    delivered = find_delivery(federation, plan, client)
    if delivered:
        return delivered
    record = load_run(federation, run)
    config = record.config
    folder = layout.training_clips(config.data.dataset)
    clips = open_clips(own, folder, config.data)
    training = config.training
    seed = derived_seed(run, config.seed, round_number, client)
    sampler = PatchSampler(
        clips,
        frames=training.frames,
        patch_size=training.patch_size,
        batch_size=training.batch_size,
        seed=seed,
    )
    base = open_weights(federation, layout.global_weights(run, round_number - 1), plan.base_digest).load()
    shared: dict[str, Array] = {}
    if plan.strategy_digest:
        key = layout.strategy_state(run, round_number - 1)
        shared = open_weights(federation, key, plan.strategy_digest).load()
    strategy = build_strategy(config.strategy.name, config.strategy.options)
    device = select_device(training.device)
    with repeatable(seed, training.threads):
        model = build_model(config.model.name, config.data.scale, config.model.options)
        load_state(model, base, f"global weights of round {round_number - 1}")
        model.to(device)
        kept = _client_state(own, record, round_number) if strategy.stateful else {}
        term: LocalTerm = strategy.make_local_term(model, shared, kept)
        summary = _train(
            config, sampler, model, term, strategy.high_frequency_loss, device, round_number - 1, progress
        )
        if summary.loss > MAX_LOSS:
            raise TrainingError(
                f"the mean loss is {summary.loss:.3g}, and a report takes at most {MAX_LOSS:.0e}; "
                "lower training.learning_rate"
            )
        result = term.finish()
        update = serialize(state_of(model))
    if result.kept:
        own.write(layout.client_state(run, record.identity, round_number), serialize(result.kept))
    extra = serialize(result.sent) if result.sent else b""
    if extra:
        federation.write(layout.update_extra(run, round_number, client), extra)
    federation.write(layout.update(run, round_number, client), update)
    report = ReportRecord(
        run=run,
        round=round_number,
        client=client,
        base_digest=plan.base_digest,
        update_digest=bytes_digest(update),
        update_bytes=len(update),
        extra_digest=bytes_digest(extra) if extra else None,
        extra_bytes=len(extra),
        downloaded_bytes=_nbytes(base) + _nbytes(shared),
        dataset_digest=dataset_digest(own, folder, config.data),
        loss=summary.loss,
        clips=len(clips),
        steps=summary.steps,
        samples=summary.samples,
        seconds=summary.seconds,
        device=str(device),
    )
    write_record(federation, layout.report(run, round_number, client), report)
    return report


def _train(
    config: RunConfig,
    sampler: PatchSampler,
    model: nn.Module,
    term: LocalTerm,
    high_frequency: bool,
    device: torch.device,
    earlier_rounds: int,
    progress: Progress | None,
) -> TrainingSummary:
    training = config.training
    objective = Objective(
        training.lambda_vsr, training.lambda_hf if high_frequency else 0.0, training.epsilon
    )
    count = step_count(sampler, training)
    with (progress or Progress()).stage("train", count) as advance:
        return train_locally(
            model,
            batches(sampler, training),
            objective,
            term,
            training,
            device,
            lambda step, loss: advance(step, f"loss {loss:.4f}"),
            first_step=earlier_rounds * count,
        )


def _client_state(own: Store, record: RunRecord, round_number: int) -> dict[str, Array]:
    """What the strategy kept at this client after the last round before this one that it was in."""
    run, identity = record.config.name, record.identity
    this = layout.client_state(run, identity, round_number)
    earlier = [key for key in own.keys(layout.client_state_folder(run, identity)) if key < this]
    if not earlier:
        return {}
    data = own.read(earlier[-1])
    return open_weights(own, earlier[-1], bytes_digest(data)).load()


def _nbytes(tensors: Mapping[str, Array]) -> int:
    return sum(array.nbytes for array in tensors.values())
