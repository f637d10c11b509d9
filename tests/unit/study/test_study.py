"""`fedvsr study`: which cells there are, what becomes of them, and what is shown."""

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from fedvsr.config.study import CENTRAL, load_study
from fedvsr.errors import ConfigError
from fedvsr.federation import layout
from fedvsr.federation.records import Outcome, OutcomesRecord, read_record
from fedvsr.federation.run import rounds
from fedvsr.study.cells import expand
from fedvsr.study.runner import plan_study
from fedvsr.study.worker import run_cell
from tests.unit.tiny_run import Output, run_command


class Killed(BaseException):
    """Stands for a killed process."""


@dataclass(frozen=True)
class FinishedStudy:
    file: Path
    store: Path
    output: Output

    @property
    def folder(self):
        return self.store / "studies/tiny-study"

    def tasks(self):
        study = load_study(self.file)
        run = plan_study(study, expand(study, str(self.folder)), str(self.store))
        return [(cell, run.tasks[cell.id]) for cell in run.matrix.cells]


@pytest.fixture(scope="module")
def finished_study(tmp_path_factory, study_values, empty_database):
    """The tiny study after one call of the command. Tests may read it but not change it."""
    folder = tmp_path_factory.mktemp("finished-study")
    file, store = folder / "study.yaml", folder / "store"
    file.write_text(yaml.safe_dump(study_values, sort_keys=False))
    store.mkdir()
    shutil.copy(empty_database, store / "mlflow.db")
    output = run_command("study", file, "--store", store, "--workers", 2)
    return FinishedStudy(file, store, output)


def weights(task, round_number=2):
    return task.workspace.federation().read(layout.global_weights("tiny-study", round_number))


def rows(study):
    with (study.folder / "cells.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_cells_are_the_product_and_central_training_is_there_once_a_seed(study_file):
    study = load_study(study_file())
    matrix = expand(study, "store")
    labels = [(cell.strategy, cell.levels[0][1], cell.seed) for cell in matrix.cells]
    assert len(labels) == len(set(labels)) == 2 * 2 * 2 + 2 + 2
    assert [label for label in labels if label[0] == CENTRAL] == [
        (CENTRAL, "none", 1),
        (CENTRAL, "none", 2),
    ]
    # Failures do not concern central training: one cell stands for both levels.
    assert matrix.central[(("failing", "half"),), 1] is matrix.central[(("failing", "none"),), 1]


def test_central_training_sees_as_many_samples_in_one_place(study_file):
    cells = expand(load_study(study_file()), "store").cells
    central = next(cell for cell in cells if cell.strategy == CENTRAL).experiment
    assert central.clients.split.count == 1
    assert central.federation.rounds == 1
    # Two rounds of two clients with two steps.
    assert central.training.local_steps == 8
    assert central.federation.failing_share == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "fedvsr"}, r"^reference: 'fedvsr' is not allowed; it must be one of the strategies"),
        ({"comparisons": {"twin": ["no"]}}, r"^comparisons.twin: 'no' is not allowed"),
        ({"comparisons": {"twin": ["twin"]}}, r"^comparisons.twin: \['twin'\] is not allowed"),
        ({"seeds": []}, r"^seeds: "),
        ({"seeds": [1, 1]}, r"^seeds: \[1, 1\] is not allowed; each seed may be there once"),
        ({"factors": {"failing": {}}}, r"^factors.failing: {} is not allowed"),
        ({"strategies": {"central": {"overrides": {}}}}, r"^strategies: 'central' is not allowed"),
        ({"overrides": {"federation.round": 2}}, r"^federation.round: 2 is not allowed; no such field"),
        ({"experiment": "missing.yaml"}, r"it must be a readable file"),
        (
            {"overrides": {"training.local_steps": 0}},
            r"^central: True is not allowed; it needs clients.split",
        ),
    ],
)
def test_a_wrong_study_is_refused_with_the_field(study_file, changes, message):
    with pytest.raises(ConfigError, match=message):
        expand(load_study(study_file(**changes)), "store")


def test_a_failed_cell_is_listed_everywhere_and_the_others_end(finished_study):
    assert finished_study.output.code == 1
    assert "2 of 12 cells failed" in " ".join(finished_study.output.err.split())
    failed = [row for row in rows(finished_study) if row["status"] == "failed"]
    assert {row["strategy"] for row in failed} == {"diverging"}
    assert all("finite" in row["reason"] for row in failed)
    for name in ("summary.md", "page.html"):
        assert "diverging · none · seed 1" in (finished_study.folder / name).read_text()


def test_strategies_with_the_same_settings_give_the_same_bytes(finished_study):
    tasks = finished_study.tasks()
    by_label = {(cell.strategy, cell.levels, cell.seed): task for cell, task in tasks}
    for (strategy, levels, seed), task in by_label.items():
        if strategy == "twin":
            assert weights(task) == weights(by_label["fedavg", levels, seed])
    # Other seeds, and rounds with failures, give other weights.
    assert len({weights(task) for cell, task in tasks if cell.strategy == "fedavg"}) == 4


def test_clients_that_fail_on_purpose_are_recorded(finished_study):
    task = next(
        task
        for cell, task in finished_study.tasks()
        if cell.strategy == "fedavg" and cell.levels == (("failing", "half"),)
    )
    record = read_record(task.workspace.federation(), layout.outcomes("tiny-study", 1), OutcomesRecord)
    assert sorted(entry.outcome for entry in record.outcomes) == [Outcome.FAILED, Outcome.OK]
    assert {entry.reason for entry in record.outcomes} == {"", "simulated: federation.failing_share"}


def test_the_csv_has_a_row_for_every_evaluated_round(finished_study):
    table = [row for row in rows(finished_study) if row["strategy"] == "fedavg"]
    assert [(row["failing"], row["seed"], row["round"]) for row in table] == [
        (failing, str(seed), str(number))
        for seed in (1, 2)
        for failing in ("none", "half")
        for number in (1, 2)
    ]
    by_round = {row["round"]: row for row in table if row["failing"] == "none" and row["seed"] == "1"}
    # Two clients, two steps, batches of one patch.
    assert by_round["1"]["samples"] == "4"
    assert by_round["2"]["samples"] == "8"
    assert int(by_round["2"]["bytes_up"]) > int(by_round["1"]["bytes_up"]) > 0
    assert by_round["1"]["other_domain_gain"] == ""
    assert float(by_round["2"]["other_domain_gain"])


def test_the_tables_pair_by_seed_and_show_central_training_and_bicubic(finished_study):
    summary = (finished_study.folder / "summary.md").read_text()
    assert "**failing: none**" in summary
    rows_of = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in summary.splitlines()}
    assert rows_of["twin"][1:] == ["best of them: fedavg", "+0.000 ± 0.000", "2", "1 |"]
    assert "| central | 2 |" in summary
    assert "| bicubic | – |" in summary
    assert "| diverging | 0 of 1 |" in summary


def test_mlflow_has_the_cells_as_children_of_the_study(finished_study):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished_study.store}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("fedvsr").experiment_id])
    parent = next(run for run in runs if "fedvsr.study" in run.data.tags)
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == 12
    assert sum(run.info.status == "FAILED" for run in children) == 2
    ended = next(run for run in children if run.data.params.get("strategy") == "fedavg")
    assert ended.data.metrics["psnr_y"] > 0
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {"page.html", "cells.csv"}


def test_a_second_call_trains_only_what_failed(finished_study, tmp_path):
    store = tmp_path / "copy"
    shutil.copytree(finished_study.store, store)
    output = run_command("study", finished_study.file, "--store", store, "--dry-run")
    assert "12 cells, 10 have ended, 2 are left" in output.out


def test_a_killed_cell_goes_on_with_the_same_bytes(finished_study, study_file, tmp_path, monkeypatch):
    study = load_study(study_file())
    store = str(tmp_path / "store")
    shutil.copytree(finished_study.folder / "clients", tmp_path / "store/studies/tiny-study/clients")
    run = plan_study(study, expand(study, store), store)
    cell = run.matrix.cells[0]
    with monkeypatch.context() as patch:

        def kill(*arguments):
            raise Killed

        patch.setattr(rounds, "evaluate_round", kill)
        with pytest.raises(Killed):
            run_cell(run.tasks[cell.id])
    assert not run.tasks[cell.id].has_ended
    run_cell(run.tasks[cell.id])
    assert run.tasks[cell.id].has_ended
    original = {other.label: task for other, task in finished_study.tasks()}[cell.label]
    assert weights(run.tasks[cell.id]) == weights(original)


def test_tables_are_written_between_the_markers_of_a_document(finished_study, tmp_path):
    document = tmp_path / "README.md"
    document.write_text("before\n<!-- study:tiny-study -->\nold\n<!-- /study -->\nafter\n")
    output = run_command(
        "study", finished_study.file, "--store", finished_study.store, "--table", "--write", document
    )
    assert output.code == 0, output.err
    text = document.read_text()
    assert text.startswith("before\n<!-- study:tiny-study -->\n\n**failing: none**")
    assert text.endswith("<!-- /study -->\nafter\n")
    assert "old" not in text
    document.write_text("<!-- study:tiny-study comparisons -->\n<!-- /study -->\n")
    run_command("study", finished_study.file, "--store", finished_study.store, "--table", "--write", document)
    text = document.read_text()
    assert text.count("**Comparisons: ") == text.count("**") // 2 == 2
    document.write_text("no markers")
    output = run_command(
        "study", finished_study.file, "--store", finished_study.store, "--table", "--write", document
    )
    assert output.code == 2
    assert "<!-- study:tiny-study -->" in output.err
