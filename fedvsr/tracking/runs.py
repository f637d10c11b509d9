"""Copies a federated run's records to an MLflow run. They can be sent again at any time."""

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from fedvsr.federation.records import EvaluationRecord, RoundRecord, RunRecord
from fedvsr.report.summary import RunSummary
from fedvsr.tracking.connection import MlflowConnection
from fedvsr.tracking.filters import quoted

RUN_TAG = "fedvsr.run"
# Kubeflow Pipelines creates an MLflow run for a pipeline run and gives its id to the steps.
RUN_ID_VARIABLE = "MLFLOW_RUN_ID"
# The pipeline run that a step belongs to.
PIPELINE_RUN_VARIABLE = "KFP_RUN_ID"
# One metric of every round and one of every evaluated round. Their MLflow steps show which rounds were sent.
_ROUND_METRIC = "participants"
_EVALUATION_METRIC = "psnr_y"
_MAX_PARAM_LENGTH = 6000  # MLflow's limit


class RunTracker:
    """Sends a federated run's rounds to its MLflow run.

    Sending a round twice changes nothing, so a resumed run has each round once.

    Args:
        connection: The connection to MLflow.
        record: The run's record. The MLflow run is found by the run's name, or created.

    Raises:
        fedvsr.errors.TrackingError: MLflow failed.
    """

    def __init__(self, connection: MlflowConnection, record: RunRecord) -> None:
        self._connection = connection
        self._client = connection.client
        self._record = record
        self.run_id, self.experiment_id = self._open()

    @property
    def url(self) -> str:
        """The address of the run's page in MLflow; empty if no server shows it."""
        return self._connection.page_url(f"experiments/{self.experiment_id}/runs/{self.run_id}")

    def log_round(self, record: RoundRecord) -> None:
        """Sends a round's metrics, with the round as MLflow's step."""
        losses = record.losses
        values = {
            "client_loss_mean": sum(losses) / len(losses),
            "client_loss_min": min(losses),
            "client_loss_max": max(losses),
            _ROUND_METRIC: float(len(losses)),
            "bytes_up": float(record.bytes_up),
            "bytes_down": float(record.bytes_down),
            **record.diagnostics,
            **{f"seconds_{phase}": seconds for phase, seconds in record.seconds.items()},
        }
        training = sum(participant.seconds for participant in record.participants)
        if training:
            waiting = sum(participant.waiting_seconds for participant in record.participants)
            values["waiting_share"] = waiting / training
        if record.privacy:
            values["epsilon"] = record.privacy.epsilon
        if record.data_changes:
            values["clients_with_changed_clips"] = float(len(record.data_changes))
        if record.limited_clients:
            values["limited_clients"] = float(record.limited_clients)
        self._log(values, record.round, _ROUND_METRIC)

    def log_evaluation(self, evaluation: EvaluationRecord) -> None:
        """Sends an evaluation's means over the held-out frames, with the round as MLflow's step.

        The names of the averaged weights' means begin with ``averaged_``.
        """
        metrics = ["psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb"]
        if all(score.lpips is not None for score in evaluation.scores):
            metrics.append("lpips")
        values = evaluation.means(metrics)
        values["seconds_evaluate"] = evaluation.seconds
        self._log(values, evaluation.round, _EVALUATION_METRIC)

    def log_summary(self, summary: RunSummary) -> None:
        """Sends the records that MLflow does not have yet, the configuration, plot, picture and report."""
        # Imported here because a step that only sends a round runs in an image without Matplotlib.
        from fedvsr.report.figures import psnr_figure, to_png
        from fedvsr.report.page import render_page

        for record in summary.rounds:
            self.log_round(record)
        for evaluation in summary.evaluations:
            self.log_evaluation(evaluation)
        with tempfile.TemporaryDirectory(prefix="fedvsr-mlflow-") as temporary:
            folder = Path(temporary)
            (folder / "config.json").write_bytes(summary.record.to_bytes())
            (folder / "report.html").write_text(render_page(summary))
            if summary.evaluations:
                (folder / "psnr.png").write_bytes(to_png(psnr_figure(summary.evaluations)))
            if summary.details_picture:
                (folder / "crops.png").write_bytes(summary.details_picture)
            with self._connection.translating_errors("store the run's artifacts"):
                # Not `MlflowClient.log_artifacts`: it remembers where a run's artifacts were in this process,
                # and the copy of a store has the same run.
                location = self._client.get_run(self.run_id).info.artifact_uri
                repository = get_artifact_repository(location, tracking_uri=self._connection.uri)
                repository.log_artifacts(str(folder))

    def finish(self, *, succeeded: bool = True) -> None:
        """Marks the MLflow run as ended. If the federated run continues, its tracker opens it again."""
        status = RunStatus.to_string(RunStatus.FINISHED if succeeded else RunStatus.FAILED)
        with self._connection.translating_errors("close the run"):
            self._client.set_terminated(self.run_id, status)

    def _open(self) -> tuple[str, str]:
        name = self._record.config.name
        with self._connection.translating_errors("open the run"):
            pipeline_run_id = os.environ.get(RUN_ID_VARIABLE)
            if pipeline_run_id:
                self._client.get_run(pipeline_run_id)
                run_id = pipeline_run_id
            else:
                run_id = self._find_run() or str(
                    self._client.create_run(self._connection.experiment_id(), run_name=name).info.run_id
                )
            self._client.update_run(run_id, status=RunStatus.to_string(RunStatus.RUNNING))
            run = self._client.get_run(run_id)
            params = _flatten(self._record.config.model_dump(mode="json"))
            # The number of rounds may be raised later. A parameter cannot change, so the number is a tag.
            rounds = params.pop("federation.rounds")
            new_params = [
                Param(key, value[:_MAX_PARAM_LENGTH])
                for key, value in params.items()
                if key not in run.data.params
            ]
            tags = {
                RUN_TAG: name,
                "fedvsr.identity": self._record.initial_digest,
                "fedvsr.version": self._record.fedvsr_version,
                "fedvsr.rounds": rounds,
                "fedvsr.parameters": str(self._record.parameters),
            }
            if pipeline_run := os.environ.get(PIPELINE_RUN_VARIABLE):
                tags["fedvsr.kfp_run_id"] = pipeline_run
            self._client.log_batch(
                run_id, params=new_params, tags=[RunTag(key, value) for key, value in tags.items()]
            )
        return run_id, str(run.info.experiment_id)

    def _find_run(self) -> str | None:
        """Returns the MLflow run of this name and these initial weights, or None if there is none."""
        runs = self._client.search_runs(
            [self._connection.experiment_id()],
            filter_string=(
                f"tags.`{RUN_TAG}` = {quoted(self._record.config.name)} "
                f"and tags.`fedvsr.identity` = {quoted(self._record.initial_digest)}"
            ),
            max_results=1,
        )
        return str(runs[0].info.run_id) if runs else None

    def _log(self, values: Mapping[str, float], step: int, sent_metric: str) -> None:
        with self._connection.translating_errors(f"store the metrics of round {step}"):
            history = self._client.get_metric_history(self.run_id, sent_metric)
            if any(metric.step == step for metric in history):
                return
            now = int(time.time() * 1000)
            metrics = [Metric(key, value, now, step) for key, value in values.items()]
            self._client.log_batch(self.run_id, metrics=metrics)


def _flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    result: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            result.update(_flatten(value, f"{prefix}{key}."))
        elif isinstance(value, list):
            result[prefix + key] = ",".join(str(item) for item in value)
        else:
            result[prefix + key] = str(value)
    return result
