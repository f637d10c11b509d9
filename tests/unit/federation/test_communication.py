"""What travels is encoded as the run says, and a strategy sees the clients' weights whatever the codec."""

import numpy as np
import pytest

from fedvsr.codecs.registry import build_codec, codec_names
from fedvsr.config.run import RunConfig
from fedvsr.errors import ConfigError, DataError, UnknownNameError, UpdateError
from fedvsr.federation import layout
from fedvsr.federation.client.train import train_client
from fedvsr.federation.communication import load_sent_weights
from fedvsr.federation.records import Outcome, RoundRecord
from fedvsr.federation.run.in_process import InProcessRunner
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.training_round import train_round
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.federation.stored_weights import load_base_weights
from fedvsr.store.base import bytes_digest
from fedvsr.store.local import LocalStore
from fedvsr.strategies.registry import strategy_names
from fedvsr.weights import load, serialize, specs_of

RUN = "test"
LOSSY = [name for name in codec_names() if name != "float32"]
DOWNLOADS = [name for name in LOSSY if build_codec(name).downloads]


def global_weights(trained) -> dict[str, np.ndarray]:
    return load(trained.store.read(layout.global_weights(RUN, 1)), "global")


def distance(first, second) -> float:
    return float(np.sqrt(sum(((first[name].astype(np.float64) - second[name]) ** 2).sum() for name in first)))


@pytest.mark.parametrize("upload", codec_names())
@pytest.mark.parametrize("strategy", strategy_names())
def test_every_strategy_aggregates_the_decoded_updates(trained_round, strategy, upload):
    exact = trained_round(strategy)
    aggregate_round(exact.store, exact.run, 1)
    expected = global_weights(exact)
    moved = distance(expected, load_base_weights(exact.store, exact.plan))
    trained = trained_round(strategy, upload) if upload != "float32" else exact
    aggregate_round(trained.store, trained.run, 1)
    bound = {"float32": 0, "bfloat16": 0.005, "int8": 0.02, "int4": 0.3, "int2": 1.5}[upload]
    assert distance(global_weights(trained), expected) <= bound * moved


@pytest.mark.parametrize("upload", codec_names())
def test_an_update_and_its_report_say_how_many_bytes_travelled(trained_round, upload):
    trained = trained_round(upload=upload)
    report = trained.report("bob")
    data = trained.store.read(layout.update(RUN, 1, "bob"))
    assert (report.update_bytes, report.update_digest) == (len(data), bytes_digest(data))
    record = aggregate_round(trained.store, trained.run, 1)
    assert record.bytes_up == sum(trained.report(client).update_bytes for client in ("ann", "bob", "cleo"))


@pytest.mark.parametrize("upload", LOSSY)
def test_training_again_gives_the_same_bytes(trained_round, upload):
    trained = trained_round(upload=upload)
    before = trained.store.read(layout.update(RUN, 1, "bob"))
    trained.store.delete(layout.report(RUN, 1, "bob"))
    train_client(trained.store, trained.workspace.client("bob"), trained.run, 1, "bob")
    assert trained.store.read(layout.update(RUN, 1, "bob")) == before


def test_clients_and_rounds_round_their_values_independently(trained_round):
    trained = trained_round(upload="int2")
    updates = {trained.store.read(layout.update(RUN, 1, client)) for client in ("ann", "bob", "cleo")}
    assert len(updates) == 3


class TestDownload:
    @pytest.mark.parametrize("download", DOWNLOADS)
    @pytest.mark.parametrize("upload", codec_names())
    def test_the_server_adds_the_differences_to_the_exact_weights(self, trained_round, upload, download):
        trained = trained_round(upload=upload, download=download)
        store, plan = trained.store, trained.plan
        base = load_base_weights(store, plan)
        sent, size = load_sent_weights(store, trained.run.config, plan, specs_of(base))
        assert size == store.size(layout.sent_weights(RUN, 1)) == trained.report("bob").downloaded_bytes
        norm = distance(base, {name: np.zeros_like(array) for name, array in base.items()})
        assert 0 < distance(sent, base) < 0.02 * norm
        aggregate_round(store, trained.run, 1)
        weights = global_weights(trained)
        updates = [store.read(layout.update(RUN, 1, client)) for client in ("ann", "bob", "cleo")]
        if upload == "float32":
            clients = [load(data, "update") for data in updates]
            for name in base:
                mean = sum(clips / 6 * (client[name] - sent[name]) for clips, client in enumerate(clients, 1))
                assert weights[name] - base[name] == pytest.approx(mean, abs=1e-6)
        assert distance(weights, base) > 0

    def test_planning_a_round_again_sends_the_same_bytes(self, trained_round):
        trained = trained_round(download="int8")
        key = layout.sent_weights(RUN, 1)
        before, plan = trained.store.read(key), trained.plan
        trained.store.delete(key)
        train_round(trained.workspace, trained.run, 1, InProcessRunner())
        assert trained.store.read(key) == before
        assert trained.plan == plan

    def test_a_client_refuses_sent_weights_that_were_changed(self, trained_round):
        trained = trained_round(download="bfloat16")
        trained.store.delete(layout.report(RUN, 1, "bob"))
        path = trained.file(layout.sent_weights(RUN, 1))
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(DataError, match="expected SHA-256"):
            train_client(trained.store, trained.workspace.client("bob"), trained.run, 1, "bob")

    def test_without_a_codec_nothing_is_written_twice(self, trained_round):
        trained = trained_round(upload="int4")
        assert not trained.store.exists(layout.sent_weights(RUN, 1))
        assert b"sent_digest" not in trained.store.read(layout.plan(RUN, 1))


class TestRefusal:
    """A client whose update is not what the run's codec makes is refused, by name."""

    def refusal(self, trained, data: bytes) -> str:
        trained.store.write(layout.update(RUN, 1, "bob"), data)
        trained.rewrite_report("bob", update_digest=bytes_digest(data), update_bytes=len(data))
        with pytest.raises(UpdateError, match="bob") as caught:
            trained.check_update("bob")
        record: RoundRecord = aggregate_round(trained.store, trained.run, 1)
        outcomes = {entry.client: entry for entry in record.outcomes}
        assert outcomes["bob"].outcome is Outcome.REFUSED
        assert outcomes["bob"].reason == caught.value.reason
        assert len(record.participants) == 2
        return caught.value.reason

    @pytest.mark.parametrize("upload", LOSSY)
    def test_an_update_of_another_codec(self, trained_round, upload):
        trained = trained_round(upload=upload)
        plain = serialize(load_base_weights(trained.store, trained.plan))
        assert f"expected the codec {upload}" in self.refusal(trained, plain)

    @pytest.mark.parametrize("upload", LOSSY)
    def test_an_update_of_a_larger_model(self, trained_round, upload):
        trained = trained_round(upload=upload)
        tensors = load_base_weights(trained.store, trained.plan)
        tensors["zz"] = np.ones(1000, np.float32)
        data = build_codec(upload).encode(sorted(tensors.items()), 0)
        assert "expands beyond the size of the model" in self.refusal(trained, data)

    @pytest.mark.parametrize("upload", LOSSY)
    def test_a_truncated_update_is_called_damaged(self, trained_round, upload):
        trained = trained_round(upload=upload)
        data = trained.store.read(layout.update(RUN, 1, "bob"))
        trained.file(layout.update(RUN, 1, "bob")).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(UpdateError, match="expected SHA-256"):
            trained.check_update("bob")


class TestConfiguration:
    @pytest.fixture
    def store(self, tmp_path):
        return LocalStore(tmp_path)

    def test_an_unknown_codec_is_refused_when_the_run_is_prepared(self, store, make_config):
        with pytest.raises(UnknownNameError, match="int3"):
            prepare_run(store, make_config(communication__upload="int3"))

    @pytest.mark.parametrize("download", ["int4", "int2"])
    def test_global_weights_do_not_travel_with_few_bits(self, store, make_config, download):
        with pytest.raises(ConfigError, match=r"communication\.download.*bfloat16, float32, int8"):
            prepare_run(store, make_config(communication__download=download))

    def test_a_stored_run_refuses_another_codec(self, store, make_config):
        prepare_run(store, make_config())
        with pytest.raises(ConfigError, match=r"^communication\.upload: 'int4' is not allowed"):
            prepare_run(store, make_config(communication__upload="int4"))

    def test_a_run_without_codecs_reads_as_before_there_were_any(self, make_config):
        config: RunConfig = make_config()
        assert "communication" not in config.model_dump()
        assert RunConfig.parse(config.model_dump()) == config
