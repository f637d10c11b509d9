"""Whole runs give the same bytes again, whatever fails or stops them."""

import errno
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedvsr.config.run import RunConfig
from fedvsr.errors import ConfigError, FedVSRError, NotFoundError, QuorumError, UnknownNameError, WeightsError
from fedvsr.federation import layout
from fedvsr.federation.client.train import train_client
from fedvsr.federation.evaluations import find_evaluation
from fedvsr.federation.records import Outcome, OutcomesRecord, ReportRecord, RoundRecord, read_record
from fedvsr.federation.run import rounds
from fedvsr.federation.run.in_process import InProcessRunner
from fedvsr.federation.run.prepare import plan_round, prepare_run
from fedvsr.federation.run.rounds import OnRound
from fedvsr.federation.run.training_round import train_round
from fedvsr.federation.runs import load_run, rounds_left
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.federation.server.evaluate import evaluate_round
from fedvsr.progress import Progress
from fedvsr.store.base import bytes_digest
from fedvsr.store.local import LocalStore
from fedvsr.store.workspace import Workspace
from fedvsr.weights import WeightsFile

RUN = "test"


class Killed(BaseException):
    """Stands for a killed process: no except clause of the code under test may catch it."""


def run_rounds(
    workspace: Workspace, config: RunConfig, on_round: OnRound = lambda record, evaluation: None
) -> None:
    """Prepares a run and runs its rounds."""
    record = prepare_run(workspace.federation(), config)
    rounds.run_rounds(workspace, record, on_round=on_round)


def train(workspace: Workspace, client: str, round_number: int = 1) -> ReportRecord:
    store = workspace.federation()
    return train_client(store, workspace.client(client), load_run(store, RUN), round_number, client)


def weights(workspace: Workspace, round_number: int) -> bytes:
    return workspace.federation().read(layout.global_weights(RUN, round_number))


def round_record(workspace: Workspace, round_number: int) -> RoundRecord:
    return read_record(workspace.federation(), layout.round_record(RUN, round_number), RoundRecord)


@pytest.fixture
def clips_of_two(workspace: Workspace, give_clips) -> Workspace:
    """A workspace in which ann has one clip and bob two."""
    give_clips({"ann": 1, "bob": 2})
    return workspace


@pytest.fixture
def fresh(clips_of_two: Workspace, tmp_path: Path) -> Callable[[str], Workspace]:
    """Copies the workspace, which has shards and no run."""
    root = Path(clips_of_two.federation_uri).parent

    def copy(name: str) -> Workspace:
        shutil.copytree(root, tmp_path / name)
        return Workspace.under(str(tmp_path / name))

    return copy


# Preparing.


def test_the_initial_weights_are_a_function_of_the_seed(fresh, make_config):
    digests = [
        prepare_run(fresh(str(index)).federation(), make_config(seed=seed)).initial_digest
        for index, seed in enumerate((0, 0, 1))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_preparing_again_returns_the_stored_run(clips_of_two, make_config, monkeypatch):
    store = clips_of_two.federation()
    first = prepare_run(store, make_config())
    monkeypatch.setattr(LocalStore, "write", lambda *arguments: pytest.fail("wrote"))
    assert prepare_run(store, make_config()) == first


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 1),
        ("training.learning_rate", 0.1),
        ("strategy.name", "fedvsr"),
        ("model.options", {"channels": 8, "blocks": 1}),
        ("federation.clients", ("ann",)),
        ("federation.quorum", 2),
        ("evaluation.crop_border", 2),
        ("server.optimiser", "yogi"),
        ("training.schedule.name", "cosine"),
        ("training.weight_decay", 0.1),
        ("training.ema_decay", 0.9),
        ("data.degradation", "bd"),
        ("data.damaged_frames", "skip"),
    ],
)
def test_a_stored_run_refuses_another_value_of_any_field(clips_of_two, make_config, field, value):
    store = clips_of_two.federation()
    stored_record = prepare_run(store, make_config())
    with pytest.raises(ConfigError) as caught:
        prepare_run(store, make_config(**{field.replace(".", "__"): value}))
    assert caught.value.field == field if field != "model.options" else "model.options.channels"
    assert "run 'test' was started with " in caught.value.allowed
    assert load_run(store, RUN) == stored_record


def test_if_several_fields_changed_the_first_is_named(clips_of_two, make_config):
    store = clips_of_two.federation()
    prepare_run(store, make_config())
    with pytest.raises(ConfigError, match=r"^seed: 5 is not allowed"):
        prepare_run(store, make_config(seed=5, training__learning_rate=1.0, strategy__name="fedvsr"))


def test_rounds_can_be_raised_and_not_lowered(clips_of_two, make_config):
    store = clips_of_two.federation()
    prepare_run(store, make_config(federation__rounds=3))
    assert rounds_left(store, prepare_run(store, make_config(federation__rounds=5))) == [1, 2, 3, 4, 5]
    with pytest.raises(
        ConfigError, match=r"^federation\.rounds: 4 .* started with 5, which can only be raised"
    ):
        prepare_run(store, make_config(federation__rounds=4))


def test_job_settings_may_change_and_are_not_part_of_the_identity(clips_of_two, make_config):
    store = clips_of_two.federation()
    stored_record = prepare_run(store, make_config())
    continued = prepare_run(store, make_config(jobs__gpus=2, jobs__retries=0))
    assert (continued.config.jobs.gpus, continued.config.jobs.retries) == (2, 0)
    assert continued.identity == stored_record.identity
    assert load_run(store, RUN) == continued


def test_a_run_may_become_strict_and_stays_the_same_run(clips_of_two, make_config):
    store = clips_of_two.federation()
    stored_record = prepare_run(store, make_config())
    continued = prepare_run(store, make_config(data__strict=True))
    assert continued.config.data.strict
    assert continued.identity == stored_record.identity
    assert prepare_run(store, make_config()) == stored_record


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (
            {"federation__clients": []},
            ConfigError,
            "federation.clients: [] is not allowed; name at least one",
        ),
        ({"model__name": "fastsvr"}, UnknownNameError, "unknown model 'fastsvr'"),
        ({"strategy__name": "fedvrs"}, UnknownNameError, "unknown strategy 'fedvrs'"),
        ({"data__degradation": "blur"}, UnknownNameError, "unknown degradation 'blur'"),
        ({"model__name": "bicubic", "model__options": {}}, ConfigError, "it must have parameters to train"),
        ({"model__options": {"width": 3}}, ConfigError, "model.options.width: 3 is not allowed"),
        ({"strategy__options": {"mu": 3}}, ConfigError, "strategy.options.mu: 3 is not allowed"),
        (
            {"strategy__name": "fedsr", "strategy__options": {"layer": "stem"}},
            ConfigError,
            "strategy.options.layer: 'stem' is not allowed",
        ),
        (
            {"strategy__name": "krum", "federation__quorum": 2},
            ConfigError,
            "federation.quorum: 2 is not allowed; strategy 'krum' with its options needs 5 updates",
        ),
    ],
)
def test_a_wrong_run_is_refused_before_anything_is_written(
    clips_of_two, make_config, overrides, error, message
):
    store = clips_of_two.federation()
    before = list(store.keys(""))
    with pytest.raises(error) as caught:
        prepare_run(store, make_config(**overrides))
    assert message in str(caught.value)
    assert list(store.keys("")) == before


def test_a_warm_start_uses_its_weights_and_refuses_those_of_another_model(clips_of_two, make_config):
    store = clips_of_two.federation()
    prepare_run(store, make_config(name="small"))
    small = WeightsFile(Path(store.uri) / layout.global_weights("small", 0)).load()
    changed = {name: array + 1 for name, array in small.items()}
    record = prepare_run(store, make_config(name="warm"), changed)
    assert bytes_digest(store.read(layout.global_weights("warm", 0))) == record.initial_digest
    assert WeightsFile(Path(store.uri) / layout.global_weights("warm", 0)).load().keys() == changed.keys()
    with pytest.raises(WeightsError, match=r"warm_start 'champion' does not fit fastvsr: tensor "):
        prepare_run(
            store,
            make_config(name="large", warm_start="champion", model__options={"channels": 8, "blocks": 1}),
            small,
        )


def test_an_unknown_run_is_reported_with_the_known_ones(clips_of_two, make_config):
    store = clips_of_two.federation()
    prepare_run(store, make_config())
    with pytest.raises(UnknownNameError, match=r"unknown run \(in .*\) 'tset'; known: test$"):
        load_run(store, "tset")


def test_a_round_is_planned_only_after_the_one_before(clips_of_two, make_config):
    store = clips_of_two.federation()
    record = prepare_run(store, make_config())
    assert plan_round(store, record, 1).base_digest == record.initial_digest
    with pytest.raises(NotFoundError, match=r"rounds/0001/round\.json"):
        plan_round(store, record, 2)


def test_planning_again_writes_nothing(clips_of_two, make_config, monkeypatch):
    store = clips_of_two.federation()
    record = prepare_run(store, make_config())
    plan = plan_round(store, record, 1)
    monkeypatch.setattr(LocalStore, "write", lambda *arguments: pytest.fail("wrote"))
    assert plan_round(store, record, 1) == plan


# A client.


@pytest.fixture
def planned(clips_of_two, make_config) -> Workspace:
    """A workspace with a run whose first round is planned."""
    store = clips_of_two.federation()
    plan_round(store, prepare_run(store, make_config()), 1)
    return clips_of_two


def test_a_client_that_delivered_is_not_trained_again(planned, monkeypatch):
    first = train(planned, "bob")
    monkeypatch.setattr(LocalStore, "write", lambda *arguments: pytest.fail("wrote"))
    assert train(planned, "bob") == first


def test_training_a_client_again_gives_the_same_bytes(planned):
    store = planned.federation()
    first = train(planned, "bob")
    data = store.read(layout.update(RUN, 1, "bob"))
    for key in list(store.keys(layout.updates_folder(RUN, 1))):
        store.delete(key)
    again = train(planned, "bob")
    assert store.read(layout.update(RUN, 1, "bob")) == data
    times = {"seconds": first.seconds, "waiting_seconds": first.waiting_seconds}
    assert again.model_copy(update=times) == first


def test_a_report_describes_the_training(planned):
    store = planned.federation()
    report = train(planned, "bob")
    data = store.read(layout.update(RUN, 1, "bob"))
    assert (report.run, report.round, report.client) == (RUN, 1, "bob")
    assert (report.clips, report.steps, report.samples) == (2, 2, 4)
    assert (report.update_digest, report.update_bytes) == (bytes_digest(data), len(data))
    assert report.base_digest == load_run(store, RUN).initial_digest
    assert 0 < report.loss < 2
    assert data != store.read(layout.global_weights(RUN, 0))


def test_two_clients_with_the_same_clips_draw_different_batches(planned):
    ann, bob = planned.client("ann"), planned.client("bob")
    for key in list(bob.keys("shards/")):
        ann.write(key, bob.read(key))
    assert train(planned, "ann").update_digest != train(planned, "bob").update_digest


@pytest.mark.parametrize("what", ["truncated", "gone", "one bit", "its report is invalid"])
def test_a_client_with_a_damaged_delivery_trains_again(planned, what):
    store = planned.federation()
    report = train(planned, "bob")
    key = layout.update(RUN, 1, "bob")
    data = store.read(key)
    if what == "truncated":
        store.write(key, data[:-1])
    elif what == "gone":
        store.delete(key)
    elif what == "one bit":
        store.write(key, data[:-1] + bytes([data[-1] ^ 1]))
    else:
        store.write(layout.report(RUN, 1, "bob"), b"{")
    assert train(planned, "bob").update_digest == report.update_digest
    assert store.read(key) == data


def test_a_client_that_is_not_in_the_plan_is_refused(planned):
    with pytest.raises(FedVSRError, match=r"client 'dan' is not in the plan of round 1 of 'test'"):
        train(planned, "dan")


def test_a_client_refuses_global_weights_that_were_changed(planned):
    store = planned.federation()
    key = layout.global_weights(RUN, 0)
    data = store.read(key)
    store.write(key, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(FedVSRError, match=r"global\.safetensors: expected SHA-256"):
        train(planned, "ann")
    assert not store.exists(layout.report(RUN, 1, "ann"))


# A round of clients.


def spoil_shard(workspace: Workspace, client: str, kind: str = "frames") -> None:
    store = workspace.client(client)
    key = next(key for key in store.keys("shards/") if f"/{kind}/" in key and key.endswith(".safetensors"))
    data = store.read(key)
    store.write(key, data[: len(data) // 2])


def test_a_client_with_a_corrupt_shard_is_an_outcome_and_the_round_goes_on(clips_of_two, make_config):
    spoil_shard(clips_of_two, "ann")
    run_rounds(clips_of_two, make_config(federation__rounds=1))
    record = round_record(clips_of_two, 1)
    assert [participant.client for participant in record.participants] == ["bob"]
    ann = record.outcomes[0]
    assert (ann.client, ann.outcome) == ("ann", Outcome.FAILED)
    assert "changed or cut short" in ann.reason


def test_a_client_whose_clip_is_too_short_is_an_outcome(
    clips_of_two, make_config, make_clip, write_clips, tmp_path
):
    short = {"short": make_clip(1, frames=2)}
    write_clips(clips_of_two.client("bob"), layout.training_clips("default"), short, tmp_path)
    run_rounds(clips_of_two, make_config(federation__rounds=1))
    bob = round_record(clips_of_two, 1).outcomes[1]
    assert bob.outcome is Outcome.FAILED
    assert "clip 'short': has 2 frames, but a patch needs 3" in bob.reason


def test_a_client_without_shards_is_an_outcome(clips_of_two, make_config):
    run_rounds(clips_of_two, make_config(federation__clients=["ann", "bob", "cleo"], federation__rounds=1))
    cleo = round_record(clips_of_two, 1).outcomes[2]
    assert cleo.outcome is Outcome.FAILED
    assert "no object 'shards/default/" in cleo.reason


def test_without_a_quorum_the_run_stops_and_continues_when_the_client_is_repaired(fresh, make_config):
    undisturbed, disturbed = fresh("undisturbed"), fresh("disturbed")
    config = make_config(federation__quorum=2)
    run_rounds(undisturbed, config)
    key = next(key for key in disturbed.client("ann").keys("shards/") if key.endswith(".safetensors"))
    good = disturbed.client("ann").read(key)
    disturbed.client("ann").write(key, good[:100])
    with pytest.raises(QuorumError, match=r"ann: failed \("):
        run_rounds(disturbed, config)
    disturbed.client("ann").write(key, good)
    run_rounds(disturbed, config)
    assert weights(disturbed, 2) == weights(undisturbed, 2)


def test_clients_whose_turn_comes_after_the_deadline_are_timed_out(clips_of_two, make_config, monkeypatch):
    # A clock that moves by ten minutes whenever it is read.
    ticks = iter(range(0, 600_000, 600))
    monkeypatch.setattr("fedvsr.federation.run.in_process.time.monotonic", lambda: next(ticks))
    store = clips_of_two.federation()
    run = prepare_run(store, make_config(federation__deadline_seconds=1000))
    record = train_round(clips_of_two, run, 1, InProcessRunner())
    assert [client.outcome for client in record.outcomes] == [Outcome.OK, Outcome.TIMED_OUT]
    assert record.outcomes[1].reason == "the round's 1000 s were over before its turn"
    assert read_record(store, layout.outcomes(RUN, 1), OutcomesRecord) == record


def test_an_unexpected_error_is_not_hidden(clips_of_two, make_config, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError

    monkeypatch.setattr("fedvsr.federation.run.in_process.train_client", broken)
    with pytest.raises(ZeroDivisionError):
        run_rounds(clips_of_two, make_config())


def test_failures_are_reported_during_the_round(clips_of_two, make_config):
    class Lines(Progress):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def message(self, text: str) -> None:
            self.lines.append(text)

    spoil_shard(clips_of_two, "ann")
    store, progress = clips_of_two.federation(), Lines()
    record = prepare_run(store, make_config())
    outcomes = list(InProcessRunner().run(clips_of_two, record, plan_round(store, record, 1), progress))
    assert [client.outcome for client in outcomes] == [Outcome.FAILED, Outcome.OK]
    assert len(progress.lines) == 1
    assert progress.lines[0].startswith("client ann: ")


# Whole runs.


def test_a_run_ends_with_a_record_and_an_evaluation_of_every_round(clips_of_two, make_config):
    seen = []
    run_rounds(
        clips_of_two, make_config(), on_round=lambda record, evaluation: seen.append((record, evaluation))
    )
    store = clips_of_two.federation()
    assert [record.round for record, _ in seen] == [1, 2]
    for record, evaluation in seen:
        assert record == round_record(clips_of_two, record.round)
        assert evaluation == find_evaluation(store, RUN, record.round)
        assert evaluation.global_digest == record.global_digest
    assert seen[1][0].base_digest == seen[0][0].global_digest
    assert rounds_left(store, load_run(store, RUN)) == []


def test_a_run_is_evaluated_every_n_rounds_and_at_its_end(clips_of_two, make_config):
    run_rounds(clips_of_two, make_config(federation__rounds=3, evaluation__every=2))
    store = clips_of_two.federation()
    assert [find_evaluation(store, RUN, round_number) is not None for round_number in (1, 2, 3)] == [
        False,
        True,
        True,
    ]


def test_an_evaluation_is_made_once(clips_of_two, make_config, monkeypatch):
    run_rounds(clips_of_two, make_config(federation__rounds=1))
    store = clips_of_two.federation()
    evaluation = find_evaluation(store, RUN, 1)
    monkeypatch.setattr(LocalStore, "write", lambda *arguments: pytest.fail("wrote"))
    assert evaluate_round(store, load_run(store, RUN), 1) == evaluation


def test_the_untrained_network_scores_as_bicubic_does(clips_of_two, make_config):
    store = clips_of_two.federation()
    evaluation = evaluate_round(store, prepare_run(store, make_config()), 0)
    assert evaluation.mean("psnr_y") == pytest.approx(evaluation.mean("psnr_y", of_bicubic=True), abs=0.05)


def test_the_same_run_twice_gives_the_same_bytes(fresh, make_config):
    first, second = fresh("first"), fresh("second")
    run_rounds(first, make_config(strategy__name="fedvsr"))
    run_rounds(second, make_config(strategy__name="fedvsr"))
    assert weights(first, 2) == weights(second, 2)


def test_a_finished_run_stays_as_it_is(clips_of_two, make_config, monkeypatch):
    run_rounds(clips_of_two, make_config())
    monkeypatch.setattr(LocalStore, "write", lambda *arguments: pytest.fail("wrote"))
    seen = []
    run_rounds(clips_of_two, make_config(), on_round=lambda record, evaluation: seen.append(record.round))
    assert seen == [1, 2]


def test_raising_the_rounds_of_a_finished_run_continues_it(fresh, make_config):
    raised, at_once = fresh("raised"), fresh("at-once")
    run_rounds(raised, make_config(federation__rounds=1))
    run_rounds(raised, make_config(federation__rounds=3))
    run_rounds(at_once, make_config(federation__rounds=3))
    # FedAvg does not depend on the number of rounds.
    assert weights(raised, 3) == weights(at_once, 3)


def test_fedprox_without_its_term_gives_the_bytes_of_fedavg(fresh, make_config):
    prox, average = fresh("prox"), fresh("average")
    run_rounds(prox, make_config(strategy__name="fedprox", strategy__options={"mu": 0}))
    run_rounds(average, make_config(strategy__name="fedavg"))
    assert weights(prox, 2) == weights(average, 2)


def test_fedprox_pulls_clients_towards_the_global_weights(fresh, make_config):
    def moved(name: str, mu: float) -> float:
        workspace = fresh(name)
        config = make_config(strategy__name="fedprox", strategy__options={"mu": mu}, training__local_steps=6)
        store = workspace.federation()
        plan_round(store, prepare_run(store, config), 1)
        train(workspace, "bob")
        start = WeightsFile(Path(store.uri) / layout.global_weights(RUN, 0)).load()
        end = WeightsFile(Path(store.uri) / layout.update(RUN, 1, "bob")).load()
        return float(sum(np.square(end[key] - start[key]).sum() for key in start))

    assert moved("held", 1e4) < moved("free", 0.0)


@pytest.mark.parametrize("strategy", ["scaffold", "fedsr", "feddyn", "moon"])
def test_a_new_run_of_the_same_name_does_not_see_the_old_client_state(fresh, make_config, strategy):
    renewed, new = fresh("renewed"), fresh("new")
    run_rounds(renewed, make_config(strategy__name=strategy, training__learning_rate=0.01))
    store = renewed.federation()
    for key in list(store.keys(f"runs/{RUN}/")):
        store.delete(key)
    # Bob cannot take part in the first round. His state from the other run must not be used.
    for workspace in (renewed, new):
        own = workspace.client("bob")
        key = next(key for key in own.keys("shards/") if key.endswith(".safetensors"))
        good = own.read(key)
        own.write(key, b"")
        run_rounds(workspace, make_config(strategy__name=strategy, federation__rounds=1))
        own.write(key, good)
        run_rounds(workspace, make_config(strategy__name=strategy, federation__rounds=2))
    assert weights(renewed, 2) == weights(new, 2)


def results(workspace: Workspace) -> dict[str, bytes]:
    """Returns what the rounds have made at the server, by key: weights, states and averages."""
    store, folder = workspace.federation(), f"runs/{RUN}/rounds/"
    return {
        key: store.read(key)
        for key in store.keys(folder)
        if key.endswith(".safetensors") and "/updates/" not in key
    }


@pytest.mark.parametrize(
    ("strategy", "averaging"),
    [("fedvsr", "none"), ("scaffold", "none"), ("fedsr", "none"), ("fedadam", "exponential")],
)
def test_a_run_killed_at_any_write_ends_with_the_same_bytes(
    fresh, make_config, monkeypatch, tmp_path, strategy: str, averaging: str
):
    config = make_config(
        strategy__name=strategy,
        server__averaging=averaging,
        training__local_steps=1,
        evaluation__every=2,
    )
    real = LocalStore._replace
    writes, last = 0, -1

    def write(self: LocalStore, key: str, fill) -> None:
        nonlocal writes
        if writes == last:
            # A part of the file with its temporary name, as kill -9 leaves it.
            folder = (self.root / key).parent
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f".{Path(key).name}.0123.part").write_bytes(b"half")
            raise Killed
        writes += 1
        real(self, key, fill)

    monkeypatch.setattr(LocalStore, "_replace", write)
    undisturbed = fresh("undisturbed")
    run_rounds(undisturbed, config)
    total = writes
    assert total >= 20

    expected = results(undisturbed)
    assert len(expected) == {"scaffold": 5, "fedadam": 6}.get(strategy, 3)
    for kill in range(total):
        workspace = fresh("killed")
        writes, last = 0, kill
        with pytest.raises(Killed):
            run_rounds(workspace, config)
        writes, last = 0, -1
        run_rounds(workspace, config)
        assert results(workspace) == expected, f"killed at write {kill}"
        assert len(round_record(workspace, 2).participants) == 2
        shutil.rmtree(tmp_path / "killed")


@pytest.fixture
def clips_in_buckets(clips_of_two, bucket, s3_environment) -> Workspace:
    """The same shards in an S3 bucket."""
    buckets = Workspace.under(f"s3://{bucket}/{uuid.uuid4().hex[:12]}")
    for source, target in (
        (clips_of_two.federation(), buckets.federation()),
        *((clips_of_two.client(name), buckets.client(name)) for name in ("ann", "bob")),
    ):
        for key in source.keys(""):
            target.write(key, source.read(key))
    return buckets


def test_a_run_in_buckets_gives_the_bytes_of_one_in_folders(clips_of_two, clips_in_buckets, make_config):
    config = make_config(strategy__name="scaffold")
    run_rounds(clips_of_two, config)
    run_rounds(clips_in_buckets, config)
    assert weights(clips_in_buckets, 2) == weights(clips_of_two, 2)


def test_an_update_cut_short_in_a_bucket_is_made_again_although_a_whole_one_is_cached(
    clips_in_buckets, make_config
):
    store = clips_in_buckets.federation()
    plan_round(store, prepare_run(store, make_config()), 1)
    report = train(clips_in_buckets, "bob")
    key = layout.update(RUN, 1, "bob")
    store.local(key, report.update_digest)
    store.write(key, store.read(key)[:-1])
    train(clips_in_buckets, "bob")
    assert bytes_digest(store.read(key)) == report.update_digest


def test_a_full_disk_stops_the_run_and_it_continues_when_there_is_room(fresh, make_config, monkeypatch):
    undisturbed, disturbed = fresh("undisturbed"), fresh("disturbed")
    run_rounds(undisturbed, make_config())

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    prepare_run(disturbed.federation(), make_config())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FedVSRError, match=r"No space left on device"):
            run_rounds(disturbed, make_config())
    run_rounds(disturbed, make_config())
    assert weights(disturbed, 2) == weights(undisturbed, 2)


def test_clients_do_not_download_a_strategy_state_that_only_the_server_needs(clips_of_two, make_config):
    run_rounds(clips_of_two, make_config(strategy__name="feddyn"))
    store = clips_of_two.federation()
    assert store.exists(layout.strategy_state(RUN, 1))
    first, second = (round_record(clips_of_two, number).bytes_down for number in (1, 2))
    assert first == second


def test_steps_run_one_by_one_give_the_bytes_of_run_rounds(fresh, make_config):
    whole, steps = fresh("whole"), fresh("steps")
    run_rounds(whole, make_config(strategy__name="scaffold"))
    store = steps.federation()
    record = prepare_run(store, make_config(strategy__name="scaffold"))
    for round_number in (1, 2):
        plan = plan_round(store, record, round_number)
        # In another order, and some twice, as retries do.
        for client in (*reversed(plan.clients), *plan.clients):
            train(steps, client, round_number)
        aggregate_round(store, record, round_number)
        aggregate_round(store, record, round_number)
    assert weights(steps, 2) == weights(whole, 2)
