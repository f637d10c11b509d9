"""Trains the demo's experiment with other settings, for the benchmarks that compare trained models."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedvsr.federation.records import EvaluationRecord, RoundRecord, RunRecord

SAMPLE = Path(__file__).parents[1] / "samples/demo.yaml"


@dataclass(frozen=True)
class DemoTraining:
    """A training that has ended.

    Attributes:
        record: The run.
        rounds: Its rounds.
        evaluation: The scores after the last round.
    """

    record: RunRecord
    rounds: list[RoundRecord]
    evaluation: EvaluationRecord


def train_demo(store: Path, overrides: Mapping[str, Any]) -> DemoTraining:
    """Trains on one thread, and evaluates the last round alone.

    Args:
        store: The folder of the run. A training that was stopped goes on there.
        overrides: Values that replace those of the demo, by dotted field name.
    """
    from fedvsr.config.experiment import load_experiment
    from fedvsr.experiment.videos import collect_videos
    from fedvsr.federation.evaluations import find_evaluation
    from fedvsr.federation.run.prepare import prepare_run
    from fedvsr.federation.run.rounds import run_rounds, shard_all
    from fedvsr.store.workspace import Workspace

    fixed: dict[str | tuple[str, ...], Any] = {"training.threads": 1, "evaluation.every": 1000}
    fixed.update(overrides)
    experiment = load_experiment(SAMPLE, fixed)
    workspace = Workspace.under(str(store))
    videos = collect_videos(experiment)
    config = experiment.run_config(tuple(videos.clients))
    shard_all(workspace, videos, config.data)
    record = prepare_run(workspace.federation(), config)
    rounds: list[RoundRecord] = []
    run_rounds(workspace, record, on_round=lambda round_record, evaluation: rounds.append(round_record))
    evaluation = find_evaluation(workspace.federation(), config.name, config.federation.rounds)
    assert evaluation is not None
    return DemoTraining(record, rounds, evaluation)
