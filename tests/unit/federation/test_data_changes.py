"""A client whose clips change between two rounds of a run is told of, recorded and shown."""

from fedvsr.federation import layout
from fedvsr.federation.evaluations import find_best_evaluation, list_evaluations
from fedvsr.federation.records import DataChange, RoundRecord, read_record
from fedvsr.federation.run import rounds
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.server.evaluate import evaluate_round
from fedvsr.progress import LogProgress
from fedvsr.report.markdown import round_markdown
from fedvsr.report.page import render_page
from fedvsr.report.summary import summarise_run
from fedvsr.store.base import Store


def records(store: Store, count: int) -> list[RoundRecord]:
    return [
        read_record(store, layout.round_record("test", number), RoundRecord) for number in range(1, count + 1)
    ]


def run(workspace, config) -> list[str]:
    lines: list[str] = []
    record = prepare_run(workspace.federation(), config)
    rounds.run_rounds(workspace, record, progress=LogProgress(lines.append, depth=0))
    return lines


def test_clips_that_were_added_are_recorded_and_told(workspace, give_clips, make_config):
    give_clips({"ann": 1, "bob": 2})
    run(workspace, make_config(federation__rounds=1))
    give_clips({"ann": 3, "bob": 2})
    lines = run(workspace, make_config(federation__rounds=3))
    change = DataChange(client="ann", since=1, clips_before=1, clips=3)
    first, second, third = records(workspace.federation(), 3)
    assert (first.data_changes, second.data_changes, third.data_changes) == ((), (change,), ())
    told = "client ann: its clips changed since round 1 (1 → 3 clips)"
    assert [line for line in lines if "changed" in line] == [f"round 2: {told}"]
    assert told in round_markdown(second)
    assert "changed" not in round_markdown(third)


def test_a_round_without_a_change_has_the_bytes_that_it_always_had(workspace, give_clips, make_config):
    give_clips({"ann": 1})
    run(workspace, make_config(federation__clients=["ann"]))
    assert b"data_changes" not in workspace.federation().read(layout.round_record("test", 2))


def test_held_out_clips_that_changed_are_told_and_recorded(
    workspace, give_clips, make_config, make_clip, write_clips, tmp_path
):
    give_clips({"ann": 1, "bob": 1})
    config = make_config()
    run(workspace, config)
    store = workspace.federation()
    write_clips(store, layout.held_out_clips("default"), {"other": make_clip(99)}, tmp_path)
    lines: list[str] = []
    record = prepare_run(store, config)
    evaluate_round(store, record, 2, LogProgress(lines.append, depth=0))
    assert lines[0].startswith("the held-out clips changed since the evaluation of round 1")
    first, second = list_evaluations(store, config)
    assert (first.other_clips_in_round, second.other_clips_in_round) == (None, 1)
    assert b"other_clips_in_round" not in store.read(layout.evaluation("test", 1))
    # Scored again, the rounds can be compared, and the report has nothing to say.
    assert "between the evaluations of rounds 1 and 2" in render_page(summarise_run(store, record))
    evaluate_round(store, record, 1)
    assert "Changed clips" not in render_page(summarise_run(store, record))


def test_only_evaluations_on_the_same_clips_compete_for_the_best_round(workspace, give_clips, make_config):
    give_clips({"ann": 1, "bob": 1})
    run(workspace, make_config(federation__rounds=3))
    first, second, third = list_evaluations(workspace.federation(), make_config(federation__rounds=3))
    easy = tuple(score.model_copy(update={"psnr_y": 90.0}) for score in first.scores)
    on_easy_clips = first.model_copy(update={"dataset_digest": "other", "scores": easy})
    best = find_best_evaluation([on_easy_clips, second, third])
    assert best is not None
    assert best == find_best_evaluation([second, third])
    assert best.round != 1
    assert find_best_evaluation([]) is None


def test_the_report_shows_which_clips_changed(workspace, give_clips, make_config):
    give_clips({"ann": 1, "bob": 2})
    run(workspace, make_config(federation__rounds=1))
    give_clips({"ann": 3, "bob": 2})
    config = make_config(federation__rounds=2)
    run(workspace, config)
    store = workspace.federation()
    summary = summarise_run(store, prepare_run(store, config))
    told = "Round 2: client ann: its clips changed since round 1 (1 → 3 clips)."
    assert summary.changes == (told,)
    assert told in render_page(summary)
