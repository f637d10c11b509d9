"""Averages of several rounds' weights: their values, that training ignores them, and how they are scored."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvsr.config.run import RunConfig
from fedvsr.config.server import ServerConfig
from fedvsr.errors import ConfigError, DataError, NotFoundError
from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_best_evaluation
from fedvsr.federation.records import AveragedScores, EvaluationRecord, RoundRecord, read_record
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.run.rounds import run_rounds
from fedvsr.federation.server import averaging
from fedvsr.federation.server.aggregate import aggregate_round
from fedvsr.federation.server.evaluate import evaluate_round
from fedvsr.scoring.clip_scores import ClipScores
from fedvsr.store.base import bytes_digest
from fedvsr.weights import load

RUN = "test"


@pytest.fixture
def trained(workspace, give_clips, make_config):
    """Trains a run of two clients to its end."""
    give_clips({"ann": 1, "bob": 2})

    def run(**settings):
        config = make_config(**{"training__local_steps": 1, "evaluation__every": 9, **settings})
        record = prepare_run(workspace.federation(), config)
        run_rounds(workspace, record)
        return record

    return run


def weights_after(store, rounds, key=layout.global_weights, run=RUN):
    return [load(store.read(key(run, number)), "weights") for number in rounds]


def round_record(store, number) -> RoundRecord:
    return read_record(store, layout.round_record(RUN, number), RoundRecord)


def check_average(store, number, shares):
    """Compares the stored average with a weighted mean of the global weights, by round, in float64."""
    (average,) = weights_after(store, [number], layout.averaged_weights)
    weights = dict(zip(shares, weights_after(store, shares), strict=True))
    total = sum(shares.values())
    for name, array in average.items():
        expected = sum(share * weights[r][name].astype(np.float64) for r, share in shares.items()) / total
        np.testing.assert_allclose(array, expected, rtol=2e-6, atol=1e-8, err_msg=name)
    digest = round_record(store, number).averaged_digest
    assert digest == bytes_digest(store.read(layout.averaged_weights(RUN, number)))


def test_the_exponential_average_is_that_of_all_rounds(trained, workspace):
    trained(server__averaging="exponential", server__averaging_decay=0.6, federation__rounds=4)
    store = workspace.federation()
    assert round_record(store, 1).averaged_digest is None
    for number in (2, 3, 4):
        check_average(store, number, {r: 0.6 ** (number - r) for r in range(1, number + 1)})


def test_the_uniform_average_is_the_mean_of_the_rounds_after_its_start(trained, workspace):
    trained(server__averaging="uniform", server__averaging_start=0.4, federation__rounds=5)
    store = workspace.federation()
    assert [round_record(store, number).averaged_digest is None for number in (1, 2, 3)] == [True] * 3
    check_average(store, 4, {3: 1, 4: 1})
    check_average(store, 5, {3: 1, 4: 1, 5: 1})


@pytest.mark.parametrize("averaging", ["exponential", "uniform"])
def test_training_goes_on_from_the_global_weights(trained, workspace, averaging):
    store = workspace.federation()
    keys = [layout.global_weights(RUN, number) for number in (1, 2, 3)]
    trained(federation__rounds=3)
    expected = [store.read(key) for key in keys]
    for key in list(store.keys(f"runs/{RUN}/")):
        store.delete(key)
    trained(federation__rounds=3, server__averaging=averaging)
    assert [store.read(key) for key in keys] == expected


@given(
    decay=st.floats(0.01, 0.99),
    values=st.lists(st.floats(-10, 10), min_size=1, max_size=30),
    averaging=st.sampled_from(["exponential", "uniform"]),
)
def test_the_shares_of_the_newest_rounds_make_the_weighted_mean(decay, values, averaging):
    server = ServerConfig(
        averaging=averaging, **({"averaging_decay": decay} if averaging != "uniform" else {})
    )
    average = values[0]
    for count, value in enumerate(values[1:], start=2):
        average += server.newest_share(count) * (value - average)
    weights = [decay ** (len(values) - i) if averaging == "exponential" else 1 for i in range(len(values))]
    assert average == pytest.approx(np.average(values, weights=weights), abs=1e-9)


@given(start=st.floats(0, 0.99), rounds=st.integers(1, 50))
def test_a_uniform_average_ends_with_at_least_one_round_and_grows_by_one(start, rounds):
    server = ServerConfig(averaging="uniform", averaging_start=start)
    counts = [server.averaged_rounds(number, rounds) for number in range(1, rounds + 1)]
    assert counts[-1] >= 1
    assert [count for count in counts if count] == list(range(1, counts[-1] + 1))
    assert counts[-1] >= (1 - start) * rounds - 1e-9


def test_buffers_without_fractions_are_the_newest():
    before = {"counter": np.array([1, 2]), "mask": np.array(True), "w": np.float32([1, 2])}
    newest = {"counter": np.array([2**62 + 1, 9]), "mask": np.array(False), "w": np.float32([3, 0])}
    result = {name: averaging._average(before[name], newest[name], 0.25) for name in newest}
    assert result["counter"].tolist() == [2**62 + 1, 9]
    assert not result["mask"]
    assert result["w"].tolist() == [1.5, 1.5]
    assert result["w"].dtype == np.float32


def test_an_aggregation_that_died_before_its_record_gives_the_same_average_again(trained, workspace):
    record = trained(server__averaging="exponential", federation__rounds=3)
    store, key = workspace.federation(), layout.averaged_weights(RUN, 3)
    expected, digest = store.read(key), round_record(store, 3).averaged_digest
    store.delete(layout.round_record(RUN, 3))
    store.delete(key)
    assert aggregate_round(store, record, 3).averaged_digest == digest
    assert store.read(key) == expected


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda store, key: store.write(key, store.read(key)[:-1]), DataError),
        (lambda store, key: store.delete(key), NotFoundError),
    ],
)
def test_an_average_that_is_damaged_or_missing_stops_the_next_round(trained, workspace, spoil, error):
    record = trained(server__averaging="exponential", federation__rounds=3)
    store, key = workspace.federation(), layout.averaged_weights(RUN, 2)
    store.delete(layout.round_record(RUN, 3))
    spoil(store, key)
    with pytest.raises(error) as caught:
        aggregate_round(store, record, 3)
    assert key in str(caught.value)


# Evaluation.


def test_an_evaluation_scores_both_weights_and_is_made_once(trained, workspace, monkeypatch):
    record = trained(server__averaging="exponential", evaluation__every=1)
    store = workspace.federation()
    first, second = (
        read_record(store, layout.evaluation(RUN, number), EvaluationRecord) for number in (1, 2)
    )
    assert first.averaged is None
    assert second.averaged.digest == round_record(store, 2).averaged_digest
    assert second.averaged.scores != second.scores
    # The average's scores are those that its weights have as global weights.
    averaged = load(store.read(layout.averaged_weights(RUN, 2)), "average")
    other = prepare_run(store, record.config.model_copy(update={"name": "other"}), averaged)
    assert evaluate_round(store, other, 0).scores == second.averaged.scores
    monkeypatch.setattr(type(store), "write", lambda *arguments: pytest.fail("wrote"))
    assert evaluate_round(store, record, 2) == second


def evaluation(number, psnr, averaged=None, digest="averaged") -> EvaluationRecord:
    def scores(value):
        return (ClipScores(clip="a", frames=2, psnr_rgb=1, psnr_y=value, ssim_rgb=0.5, ssim_y=0.5),)

    return EvaluationRecord(
        run=RUN,
        round=number,
        model="fastvsr",
        global_digest="global",
        dataset_digest="clips",
        crop_border=0,
        scores=scores(psnr),
        bicubic=scores(20),
        seconds=1,
        averaged=None if averaged is None else AveragedScores(digest=digest, scores=scores(averaged)),
    )


def test_the_better_weights_are_the_rounds_model():
    plain, worse, better = evaluation(1, 30), evaluation(2, 29, 28), evaluation(3, 29, 31)
    assert [record.model_digest for record in (plain, worse, better)] == ["global", "global", "averaged"]
    assert [record.is_averaged for record in (plain, worse, better)] == [False, False, True]
    assert [record.mean("psnr_y") for record in (plain, worse, better)] == [30, 29, 31]
    assert better.gain == 11
    assert find_best_evaluation([plain, worse, better]) == better
    assert find_best_evaluation([plain, worse]) == plain


def test_the_means_of_both_weights_have_names_of_their_own():
    assert evaluation(1, 30).means(["psnr_y"]) == {"psnr_y": 30, "psnr_y_over_bicubic": 10}
    assert evaluation(3, 29, 31).means(["psnr_y", "ssim_y"]) == {
        "psnr_y": 29,
        "ssim_y": 0.5,
        "psnr_y_over_bicubic": 9,
        "averaged_psnr_y": 31,
        "averaged_ssim_y": 0.5,
        "averaged_psnr_y_over_bicubic": 11,
    }


def test_an_evaluation_without_an_average_has_the_bytes_that_it_always_had():
    assert b"averaged" not in evaluation(1, 30).to_bytes()
    record = evaluation(1, 30, 31)
    assert EvaluationRecord.from_bytes(record.to_bytes(), "evaluation.json") == record


# Configuration.


@pytest.mark.parametrize(
    ("server", "field", "allowed"),
    [
        ({"averaging": "mean"}, "averaging", "it must be 'none', 'exponential' or 'uniform'"),
        ({"averaging_decay": 0.5}, "averaging_decay", "it needs server.averaging: exponential"),
        (
            {"averaging": "exponential", "averaging_start": 0.1},
            "averaging_start",
            "it needs server.averaging: uniform",
        ),
        ({"averaging": "exponential", "averaging_decay": 1}, "averaging_decay", "it must be less than 1"),
        ({"averaging": "uniform", "averaging_start": 1}, "averaging_start", "it must be less than 1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(server, field, allowed):
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse({"name": "a", "server": server})
    assert (caught.value.field, caught.value.allowed) == (f"server.{field}", allowed)


def test_only_the_rounds_of_a_uniform_average_cannot_be_raised(workspace, make_config):
    store = workspace.federation()
    for kind in ("none", "exponential", "uniform"):
        settings = {"name": kind, "server__averaging": kind}
        prepare_run(store, make_config(**settings, federation__rounds=3))
        more = make_config(**settings, federation__rounds=4)
        if kind == "uniform":
            with pytest.raises(ConfigError, match=r"^federation\.rounds: 4 .* server\.averaging_start is"):
                prepare_run(store, more)
        else:
            prepare_run(store, more)
