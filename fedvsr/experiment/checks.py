"""Checks an experiment before anything is written."""

from collections.abc import Iterable
from functools import partial

from fedvsr.config.experiment import Experiment
from fedvsr.config.run import RunConfig
from fedvsr.device import select_device
from fedvsr.federation.records import RunRecord
from fedvsr.federation.run.prepare import validate_run
from fedvsr.progress import Progress
from fedvsr.tracking.connection import connect
from fedvsr.tracking.start import RunStart, validate_start


def check_plan(config: RunConfig, stored: RunRecord | None, progress: Progress) -> None:
    """Checks a run as far as possible without its videos and without MLflow. Writes nothing.

    Args:
        config: The run, with its clients.
        stored: The record of this run in the store; None for a new run.
        progress: Shows warnings.

    Raises:
        fedvsr.errors.InputError: The run would be refused.
    """
    select_device(config.training.device)
    _warn(validate_run(config, stored).warnings, progress)


def validate_experiment(
    experiment: Experiment, config: RunConfig, stored: RunRecord | None, progress: Progress
) -> RunStart:
    """Checks everything about a run except its videos. Writes nothing into the stores.

    Args:
        experiment: The experiment.
        config: The experiment's run, with its clients.
        stored: The record of this run in the store; None for a new run.
        progress: Shows warnings.

    Raises:
        fedvsr.errors.FedVSRError: As `fedvsr.tracking.start.validate_start`, or the device does not exist.
    """
    select_device(config.training.device)
    tracking = experiment.tracking
    start = validate_start(
        config, stored, partial(connect, tracking, experiment.store), tracking.registered_model
    )
    _warn(start.warnings, progress)
    return start


def _warn(warnings: Iterable[str], progress: Progress) -> None:
    for warning in warnings:
        progress.message(f"warning: {warning}")
