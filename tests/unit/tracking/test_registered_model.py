"""Registered model versions, and their promotion."""

import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from fedvsr.config.experiment import TrackingConfig
from fedvsr.errors import ConfigError, InputError, StoreError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_best_evaluation, list_evaluations
from fedvsr.federation.runs import load_run
from fedvsr.models.state import state_of
from fedvsr.tracking import model_registry
from fedvsr.tracking.connection import connect
from fedvsr.tracking.model_registry import download_model, register_run
from fedvsr.tracking.promotion import promote
from fedvsr.tracking.start import load_initial_weights, validate_start
from fedvsr.weights import serialize
from tests.unit.tiny_run import RUN, read_video

REPOSITORY = Path(__file__).parents[3]


def connection_to(run):
    return connect(TrackingConfig(), str(run.store))


@pytest.fixture
def best(finished):
    store = finished.workspace.federation()
    return find_best_evaluation(list_evaluations(store, load_run(store, RUN).config))


def test_a_version_names_its_origin(finished, best):
    client = connection_to(finished).client
    version = client.get_model_version_by_alias("fedvsr", "challenger")
    assert version.tags["fedvsr.run"] == RUN
    assert version.tags["fedvsr.round"] == str(best.round)
    assert version.tags["fedvsr.strategy"] == "fedvsr"
    assert version.tags["fedvsr.dataset_digest"] == best.dataset_digest
    assert float(version.tags["fedvsr.psnr_y"]) == pytest.approx(best.scores[0].psnr_y, abs=1e-4)
    run = client.get_run(version.run_id)
    assert run.info.run_name == RUN


def test_the_best_round_is_registered(finished, best):
    psnr = {evaluation.round: evaluation.mean("psnr_y") for evaluation in evaluations_of(finished)}
    assert psnr[best.round] == max(psnr.values())
    trained = download_model(connection_to(finished), "models:/fedvsr@challenger")
    assert serialize(state_of(trained.network)) == finished.weights(best.round)
    assert (trained.record.scale, trained.record.degradation) == (2, "bi")


def evaluations_of(finished):
    store = finished.workspace.federation()
    return list_evaluations(store, load_run(store, RUN).config)


def test_signature_and_example(finished):
    folder = Path(next(finished.store.rglob("MLmodel"))).parent
    model = mlflow.models.Model.load(str(folder))
    (model_input,), (output,) = model.signature.inputs, model.signature.outputs
    for tensor in (model_input, output):
        assert (tensor.type, tensor.shape) == (np.dtype("uint8"), (-1, -1, -1, 3))
    example = model.load_input_example(str(folder))
    assert example.dtype == np.uint8
    assert example.shape == (2, 24, 24, 3)


def test_mlflow_alone_predicts_the_same_frames(finished, videos, tmp_path):
    """Runs in a process that imports the version's stored code, not the repository's."""
    frames, _ = read_video(videos / "held-out" / "clip.avi")
    np.save(tmp_path / "in.npy", frames[:4])
    folder = next(finished.store.rglob("MLmodel")).parent
    shutil.copytree(folder, tmp_path / "model")
    script = f"""
import sys, warnings
sys.path[:] = [path for path in sys.path if path != {str(REPOSITORY)!r}]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
try:
    import fedvsr
except ImportError:
    pass
else:
    raise SystemExit("the repository is still seen")
import mlflow.pyfunc, numpy
warnings.simplefilter("error", UserWarning)
model = mlflow.pyfunc.load_model({str(tmp_path / "model")!r})
numpy.save({str(tmp_path / "out.npy")!r}, model.predict(numpy.load({str(tmp_path / "in.npy")!r})))
import fedvsr
assert fedvsr.__file__.startswith({str(tmp_path)!r}), fedvsr.__file__
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    trained = download_model(connection_to(finished), "models:/fedvsr@challenger")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), trained.upscale(frames[:4], "cpu"))


def test_registering_twice_gives_one_version(copied):
    connection, store = connection_to(copied), copied.workspace.federation()
    record = load_run(store, RUN)
    first = register_run(connection, store, record, "fedvsr")
    assert register_run(connection, store, record, "fedvsr") == first
    assert len(connection.client.search_model_versions("name = 'fedvsr'")) == 1


def test_a_version_without_a_registration_record_is_found_again(copied, monkeypatch):
    connection, store = connection_to(copied), copied.workspace.federation()
    record = load_run(store, RUN)

    def fail(*args):
        raise StoreError("no")

    store.delete(layout.registration(RUN))
    monkeypatch.setattr(model_registry, "write_record", fail)
    with pytest.raises(StoreError):
        register_run(connection, store, record, "fedvsr")
    monkeypatch.undo()
    assert register_run(connection, store, record, "fedvsr").model_version == "1"
    assert len(connection.client.search_model_versions("name = 'fedvsr'")) == 1


def test_a_deleted_version_is_registered_again(copied):
    connection, store = connection_to(copied), copied.workspace.federation()
    record = load_run(store, RUN)
    connection.client.delete_model_version("fedvsr", "1")
    assert register_run(connection, store, record, "fedvsr").model_version == "2"
    assert str(connection.client.get_model_version_by_alias("fedvsr", "challenger").version) == "2"


def test_a_run_that_was_never_evaluated_cannot_be_registered(copied):
    store = copied.workspace.federation()
    for key in [*store.keys(f"runs/{RUN}/evaluation/")]:
        store.delete(key)
    with pytest.raises(InputError, match="no evaluated round"):
        register_run(connection_to(copied), store, load_run(store, RUN), "fedvsr")


@pytest.mark.parametrize(
    ("threshold", "promoted"), [(-1.0, True), ("just below", True), ("just above", False), (50, False)]
)
def test_without_a_champion_the_challenger_must_beat_bicubic(copied, best, threshold, promoted):
    gain = best.scores[0].psnr_y - best.bicubic[0].psnr_y
    threshold = {"just below": gain - 1e-6, "just above": gain + 1e-6}.get(threshold, threshold)
    connection = connection_to(copied)
    promotion = promote(connection, copied.workspace.federation(), "fedvsr", threshold)
    assert promotion.promoted == promoted
    assert (promotion.challenger, promotion.champion) == ("1", None)
    assert promotion.challenger_psnr == pytest.approx(best.scores[0].psnr_y, abs=1e-6)
    assert promotion.champion_psnr == pytest.approx(best.bicubic[0].psnr_y, abs=1e-9)
    assert ("champion" in connection.client.get_registered_model("fedvsr").aliases) == promoted


@pytest.fixture
def rivals(copied, fedvsr):
    """The run's version 1, and version 2 of a run that was trained with a harmful learning rate."""
    output = fedvsr("run", copied.config, "--store", copied.store, "--name", "bad", "--learning-rate", 0.3)
    assert (output.code, output.err) == (0, "")
    connection = connection_to(copied)
    return connection, copied.workspace.federation()


def test_a_champion_set_by_hand_is_compared(rivals):
    connection, store = rivals
    client = connection.client
    # The challenger is the bad version 2. Version 1 is made the champion by hand.
    client.set_registered_model_alias("fedvsr", "champion", "1")
    worse = promote(connection, store, "fedvsr", 0.0)
    assert (worse.challenger, worse.champion, worse.promoted) == ("2", "1", False)
    assert worse.challenger_psnr < worse.champion_psnr
    assert str(client.get_model_version_by_alias("fedvsr", "champion").version) == "1"
    # The reverse: version 1 is the challenger.
    client.set_registered_model_alias("fedvsr", "champion", "2")
    client.set_registered_model_alias("fedvsr", "challenger", "1")
    better = promote(connection, store, "fedvsr", 0.0)
    assert (better.challenger, better.champion, better.promoted) == ("1", "2", True)
    assert better.challenger_psnr == worse.champion_psnr
    assert better.champion_psnr == worse.challenger_psnr
    already = promote(connection, store, "fedvsr", 0.0)
    assert (already.challenger_psnr, already.promoted) == (None, False)
    # With force, a worse challenger is promoted too.
    client.set_registered_model_alias("fedvsr", "challenger", "2")
    forced = promote(connection, store, "fedvsr", 99.0, force=True)
    assert (forced.challenger, forced.champion, forced.promoted) == ("2", "1", True)


def test_no_challenger(finished):
    connection = connection_to(finished)
    with pytest.raises(InputError, match="no challenger"):
        promote(connection, finished.workspace.federation(), "unheard-of", 0.0)


def test_warm_starts(copied, tmp_path):
    connection = connection_to(copied)
    connection.client.set_registered_model_alias("fedvsr", "champion", "1")
    config = load_run(copied.workspace.federation(), RUN).config
    weights = tmp_path / "weights.safetensors"
    trained = serialize(state_of(download_model(connection, "models:/fedvsr/1").network))
    weights.write_bytes(trained)
    for source in ("champion", "models:/fedvsr@champion", "models:/fedvsr/1", str(weights)):
        warm = config.model_copy(update={"warm_start": source})
        assert serialize(load_initial_weights(connection, warm, "fedvsr")) == trained
    cold = validate_start(config, None, lambda: connection, "fedvsr")
    assert serialize(cold.run.weights) == copied.weights(0)
    with pytest.raises(ConfigError, match="warm_start"):
        load_initial_weights(connection, config.model_copy(update={"warm_start": "none"}), "fedvsr")
    larger = config.model_copy(
        update={"warm_start": "champion", "data": config.data.model_copy(update={"scale": 4})}
    )
    with pytest.raises(InputError, match="upscales by 2"):
        load_initial_weights(connection, larger, "fedvsr")


def test_a_warm_run_continues_without_its_champion(copied, fedvsr):
    """Its initial weights are in its store."""
    client = MlflowClient(copied.tracking_uri, registry_uri=copied.tracking_uri)
    client.set_registered_model_alias("fedvsr", "champion", "1")
    command = ("run", copied.config, "--store", copied.store, "--name", "warm", "--warm-start", "champion")
    assert fedvsr(*command, "--rounds", 1).code == 0
    start = copied.store / "federation/runs/warm/rounds/0000/global.safetensors"
    assert start.read_bytes() == finished_weights(copied)
    client.delete_registered_model_alias("fedvsr", "champion")
    output = fedvsr(*command, "--rounds", 2)
    assert (output.code, output.err) == (0, "")


def finished_weights(run):
    trained = download_model(connection_to(run), "models:/fedvsr/1")
    return serialize(state_of(trained.network))
