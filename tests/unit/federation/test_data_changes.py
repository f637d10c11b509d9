"""A client whose clips change between two rounds of a run is told of, recorded and shown."""

from fedvsr.federation import layout
from fedvsr.federation.records import DataChange, RoundRecord, read_record
from fedvsr.federation.run import rounds
from fedvsr.federation.run.prepare import prepare_run
from fedvsr.federation.server.evaluate import evaluate_round
from fedvsr.progress import LogProgress
from fedvsr.report.markdown import round_markdown
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


def test_held_out_clips_that_changed_are_told(
    workspace, give_clips, make_config, make_clip, write_clips, tmp_path
):
    give_clips({"ann": 1, "bob": 1})
    config = make_config()
    run(workspace, config)
    store = workspace.federation()
    write_clips(store, layout.held_out_clips("default"), {"other": make_clip(99)}, tmp_path)
    lines: list[str] = []
    evaluate_round(store, prepare_run(store, config), 2, LogProgress(lines.append, depth=0))
    assert lines[0].startswith("the held-out clips changed since the evaluation of round 1")
