"""Rounds with secure aggregation: the sum is right, and the server never has a single update."""

import numpy as np
import pytest

from fedvsr.errors import ConfigError, QuorumError
from fedvsr.federation import layout
from fedvsr.federation.client import train as client_train
from fedvsr.federation.records import Outcome, RoundRecord, read_record
from fedvsr.federation.run.in_process import InProcessRunner
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.training_round import train_round
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.store.local import LocalStore
from fedvsr.store.workspace import Workspace
from fedvsr.weights import load

RUN = "test"
CLIENTS = ("ann", "bob", "cleo", "dan")


@pytest.fixture
def secure_run(tmp_path, make_config, make_clip, write_clips):
    """Makes a run of four clients with 1 to 4 clips."""

    def make(name="secure", **settings):
        root = tmp_path / name
        workspace = Workspace.under(str(root / "stores"))
        folder = layout.training_clips("default")
        for index, client in enumerate(CLIENTS):
            clips = {f"{client}-{clip}": make_clip(10 * index + clip) for clip in range(index + 1)}
            write_clips(workspace.client(client), folder, clips, root)
        values = {
            "federation__clients": list(CLIENTS),
            "federation__quorum": 2,
            "privacy__secure_aggregation": True,
            "communication__upload": "int8",
            "strategy__name": "fedvsr",
        }
        config = make_config(**{**values, **settings})
        return workspace, prepare_run(workspace.federation(), config)

    return make


def global_weights(workspace, round_number=1):
    return load(workspace.federation().read(layout.global_weights(RUN, round_number)), "global")


def distance(first, second):
    return float(np.sqrt(sum(((first[name].astype(np.float64) - second[name]) ** 2).sum() for name in first)))


def one_round(workspace, record):
    train_round(workspace, record, 1, InProcessRunner())
    return aggregate_round(workspace.federation(), record, 1)


@pytest.mark.parametrize("strategy", ["fedvsr", "fedavg", "fedprox"])
@pytest.mark.parametrize(("upload", "bound"), [("int8", 0.02), ("int4", 0.35)])
def test_the_opened_sum_is_the_weighted_mean(secure_run, strategy, upload, bound):
    workspace, record = secure_run(strategy__name=strategy, communication__upload=upload)
    secure = one_round(workspace, record)
    plain_workspace, plain_record = secure_run(
        "plain",
        strategy__name=strategy,
        privacy__secure_aggregation=False,
        communication__upload="float32",
    )
    plain = one_round(plain_workspace, plain_record)
    assert [entry.outcome for entry in secure.outcomes] == [Outcome.OK] * 4
    assert [(p.client, p.weight, p.loss) for p in secure.participants] == [
        (p.client, p.weight, p.loss) for p in plain.participants
    ]
    moved = distance(global_weights(plain_workspace, 1), global_weights(plain_workspace, 0))
    error = distance(global_weights(workspace), global_weights(plain_workspace))
    assert 0 < error < bound * moved


class Killed(BaseException):
    """Ends a process as SIGKILL does: nothing handles it."""


def kill_before(monkeypatch, is_fatal):
    """Makes the first write of a key for which ``is_fatal`` is true end the process; later ones succeed."""
    write, killed = LocalStore.write, []

    def killing_write(self, key, data):
        if not killed and is_fatal(key):
            killed.append(key)
            raise Killed
        write(self, key, data)

    monkeypatch.setattr(LocalStore, "write", killing_write)
    return killed


KEYS_OF_ANN = [
    "secure/identity.key",
    "differences.safetensors",
    "updates/ann/trained.json",
    "0001/session.json",
    "updates/ann/advertise.json",
    "updates/ann/shares.json",
    "updates/ann/update.safetensors",
    "updates/ann/report.json",
    "updates/ann/unmask.json",
]
LISTS = ["agreement", "session", "roster", "shares-for-bob", "senders", "survivors"]


@pytest.mark.parametrize("fatal", [*KEYS_OF_ANN, "outcomes.json", "global.safetensors", "round.json"])
def test_a_run_that_is_killed_anywhere_goes_on_to_the_same_weights(secure_run, monkeypatch, fatal):
    expected = secure_run("uninterrupted")
    one_round(*expected)
    workspace, record = secure_run()
    killed = kill_before(monkeypatch, lambda key: key.endswith(fatal))
    with pytest.raises(Killed):
        one_round(workspace, record)
    assert killed
    one_round(workspace, record)
    assert workspace.federation().read(layout.global_weights(RUN, 1)) == expected[0].federation().read(
        layout.global_weights(RUN, 1)
    )


@pytest.mark.parametrize("fatal", LISTS)
def test_a_server_that_fails_while_it_publishes_a_list_tells_the_clients_and_begins_again(
    secure_run, monkeypatch, fatal
):
    workspace, record = secure_run()
    write, failed = LocalStore.write, []

    def failing_write(self, key, data):
        if not failed and key.endswith(f"secure/{fatal}.json"):
            failed.append(key)
            raise ZeroDivisionError
        write(self, key, data)

    monkeypatch.setattr(LocalStore, "write", failing_write)
    with pytest.raises(ZeroDivisionError):
        one_round(workspace, record)
    assert one_round(workspace, record).participants


def drop(monkeypatch, client, key):
    """Makes a client fail for good when it writes a key."""
    write = LocalStore.write

    def failing_write(self, written, data):
        if written.endswith(f"updates/{client}/{key}"):
            raise OSError("the client's network is gone")
        write(self, written, data)

    monkeypatch.setattr(LocalStore, "write", failing_write)


@pytest.mark.parametrize(
    "key", ["trained.json", "advertise.json", "shares.json", "update.safetensors", "report.json"]
)
def test_a_client_that_drops_out_in_any_phase_is_left_out_of_the_sum(secure_run, monkeypatch, key):
    workspace, record = secure_run(strategy__name="fedavg")
    drop(monkeypatch, "bob", key)
    result = one_round(workspace, record)
    outcomes = {entry.client: entry for entry in result.outcomes}
    assert outcomes["bob"].outcome is Outcome.FAILED
    assert "network is gone" in outcomes["bob"].reason
    weights = {participant.client: participant.weight for participant in result.participants}
    # ann, cleo and dan have 1, 3 and 4 clips.
    assert weights == pytest.approx({"ann": 1 / 8, "cleo": 3 / 8, "dan": 4 / 8})
    plain = secure_run(
        "plain",
        strategy__name="fedavg",
        federation__clients=["ann", "cleo", "dan"],
        privacy__secure_aggregation=False,
        communication__upload="float32",
    )
    one_round(*plain)
    moved = distance(global_weights(plain[0], 1), global_weights(plain[0], 0))
    assert distance(global_weights(workspace), global_weights(plain[0])) < 0.03 * moved


def test_a_client_that_drops_out_after_its_update_is_in_the_sum(secure_run, monkeypatch):
    workspace, record = secure_run()
    drop(monkeypatch, "bob", "unmask.json")
    result = one_round(workspace, record)
    assert [participant.client for participant in result.participants] == list(CLIENTS)


def test_with_too_few_clients_nothing_is_opened_and_the_round_can_be_tried_again(secure_run, monkeypatch):
    workspace, record = secure_run()
    with monkeypatch.context() as broken:
        for client in ("bob", "cleo"):
            drop(broken, client, "update.safetensors")
        with pytest.raises(QuorumError, match="continue the run") as caught:
            one_round(workspace, record)
    assert "bob: failed" in str(caught.value)
    assert not workspace.federation().exists(layout.global_weights(RUN, 1))
    assert len(one_round(workspace, record).participants) == 4


def test_nobody_waits_for_clients_that_fail_on_purpose(secure_run):
    workspace, record = secure_run(federation__failing_share=0.25)
    result = one_round(workspace, record)
    assert sorted(entry.outcome for entry in result.outcomes) == [Outcome.FAILED, *[Outcome.OK] * 3]
    assert len(result.participants) == 3


def test_the_federations_store_never_has_an_update_of_one_client(secure_run, monkeypatch):
    updates = {}
    deliver = client_train.SecureDelivery.begin

    def spy(self, weights, sent, facts):
        updates[facts.client] = {
            name: (weights[name] - sent[name], weights[name]) for name in weights if weights[name].size > 8
        }
        deliver(self, weights, sent, facts)

    monkeypatch.setattr(client_train.SecureDelivery, "begin", spy)
    workspace, record = secure_run()
    one_round(workspace, record)
    store = workspace.federation()
    everything = b"".join(store.read(key) for key in store.keys(""))
    assert len(updates) == 4
    for tensors in updates.values():
        for arrays in tensors.values():
            for array in arrays:
                assert array.tobytes()[:64] not in everything


def test_a_second_round_has_other_masks_and_the_same_keys(secure_run):
    workspace, record = secure_run(federation__rounds=2)
    store = workspace.federation()
    for number in (1, 2):
        train_round(workspace, record, number, InProcessRunner())
        aggregate_round(store, record, number)
    first, second = (
        [store.read(layout.update(RUN, round_number, client)) for client in CLIENTS]
        for round_number in (1, 2)
    )
    vectors = [np.frombuffer(data[-1000:], np.uint8) for data in first + second]
    for index, vector in enumerate(vectors):
        # Equal bytes of two independent uniform vectors: 1 in 256.
        assert all((vector == other).mean() < 0.03 for other in vectors[index + 1 :])
        assert abs(vector.mean() - 127.5) < 10
    own = workspace.client("ann")
    updates = [key for key in own.keys("secure/") if key.endswith("differences.safetensors")]
    assert [own.size(key) for key in updates] == [0, 0]


def test_a_client_whose_key_was_replaced_is_named_and_the_round_does_not_open(secure_run):
    workspace, record = secure_run(federation__rounds=2)
    store = workspace.federation()
    one_round(workspace, record)
    workspace.client("bob").delete(layout.LONG_TERM_SECRET)
    train_round(workspace, record, 2, InProcessRunner())
    with pytest.raises(QuorumError, match=r"client 'bob' has the key [0-9a-f:]+, known is"):
        aggregate_round(store, record, 2)


def test_a_client_state_is_kept_in_the_clients_own_store(secure_run):
    workspace, record = secure_run(strategy__name="moon", federation__rounds=2)
    one_round(workspace, record)
    for client in CLIENTS:
        state = load(workspace.client(client).read(layout.client_state(RUN, record.identity, 1)), "the state")
        assert state.keys() == global_weights(workspace).keys()
    train_round(workspace, record, 2, InProcessRunner())
    aggregate_round(workspace.federation(), record, 2)
    assert global_weights(workspace, 2).keys() == state.keys()


class TestConfiguration:
    @pytest.mark.parametrize(
        ("settings", "field"),
        [
            ({"strategy__name": "fedmedian"}, "strategy.name"),
            ({"strategy__name": "fedsr"}, "strategy.name"),
            ({"strategy__name": "scaffold"}, "strategy.name"),
            ({"strategy__name": "fedtrimmedavg"}, "strategy.name"),
            ({"communication__upload": "float32"}, "communication.upload"),
            ({"communication__upload": "bfloat16"}, "communication.upload"),
            (
                {"federation__clients": ["ann", "bob"], "federation__quorum": 1},
                "federation.clients_per_round",
            ),
            ({"federation__clients_per_round": 2}, "federation.clients_per_round"),
        ],
    )
    def test_what_cannot_be_aggregated_securely_is_refused(self, secure_run, settings, field):
        with pytest.raises(ConfigError) as caught:
            secure_run(**settings)
        assert caught.value.field == field
        assert "secure_aggregation" in caught.value.allowed

    def test_the_record_says_that_updates_were_masked(self, secure_run):
        workspace, record = secure_run()
        one_round(workspace, record)
        stored = read_record(workspace.federation(), layout.round_record(RUN, 1), RoundRecord)
        assert stored.diagnostics["masked"] == 1.0
        assert stored.diagnostics["compression_up"] > 1.5
