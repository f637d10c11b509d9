"""Logs of a pipeline run's steps, while they run and afterwards."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fedvsr.errors import PipelinesError
from fedvsr.kubeflow.connection import UI_VARIABLE, KfpConnection, UnreachableError
from fedvsr.kubeflow.runs import get_run
from fedvsr.kubeflow.step_pods import StepPod, list_step_pods

# Lines of KFP's launcher, KFP's executor and Argo, which write into the same log as the step.
_FOREIGN_LINE = re.compile(
    r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+\.go:\d+\]|\[KFP Executor |time=\S+ level=\w+ .*\bargo=true"
)
_POLL_SECONDS = 3.0
_MAX_FAILURES = 100  # five minutes
_NOTE_PREFIX = "(log not shown: "


def read_log(connection: KfpConnection, run_id: str, step_pod: StepPod) -> str:
    """Returns a step's log so far; empty if its pod has not started.

    KFP's web server has the logs of running pods and of the archive. The API of KFP 2.17 has only the
    archive's logs, since it asks Kubernetes for a pod without its namespace. For long runs it has no logs,
    since it does not read the nodes of a workflow that Argo has compressed.

    Raises:
        fedvsr.errors.PipelinesError: The step has ended and KFP does not have its log.
    """
    text = connection.find_pod_log(step_pod.pod, step_pod.namespace, run_id)
    if text is not None:
        return text
    reason = ""
    for node in (step_pod.pod, step_pod.node):
        text = connection.find_text(f"/apis/v1alpha1/runs/{run_id}/nodes/{node}/log")
        if text is not None and not (reason := _error_message(text)):
            return text
    if step_pod.has_ended:
        raise PipelinesError(
            f"KFP at {connection.endpoint} has no log of {step_pod.title} ({reason or 'no such log'}); set "
            f"the address of KFP's web server, which has more logs, with --endpoint or {UI_VARIABLE}"
        )
    return ""


def follow_logs(
    connection: KfpConnection,
    run_id: str,
    is_selected: Callable[[StepPod], bool],
    *,
    until_end: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[StepPod, str]]:
    """Yields the lines that the steps of a pipeline run write, each with its step pod.

    KFP cannot follow a log, so the logs are read again every few seconds. If a log cannot be read, one line
    says why (see `is_note`), and the other logs are still read.

    Args:
        connection: The connection to KFP's API.
        run_id: The pipeline run's ID.
        is_selected: Returns whether to read a step pod's log.
        until_end: Whether to follow until the run has ended; otherwise the logs are read once.
        sleep: Waits a number of seconds.

    Raises:
        fedvsr.errors.PipelinesError: KFP refused, or did not answer for too long.
    """
    progress = _Progress()
    failures = 0
    while True:
        try:
            is_active = until_end and get_run(connection, run_id).is_active
            yield from _new_lines(connection, run_id, is_selected, progress)
            failures = 0
        except UnreachableError:
            # KFP may restart while a run is active.
            failures += 1
            if not until_end or failures > _MAX_FAILURES:
                raise
            is_active = True
        if not is_active:
            return
        sleep(_POLL_SECONDS)


@dataclass
class _Progress:
    """How far each log was read: the number of lines by node, and the nodes whose log is complete."""

    counts: dict[str, int] = field(default_factory=dict)
    complete: set[str] = field(default_factory=set)


def _new_lines(
    connection: KfpConnection, run_id: str, is_selected: Callable[[StepPod], bool], progress: _Progress
) -> Iterator[tuple[StepPod, str]]:
    for step_pod in list_step_pods(connection, run_id):
        if step_pod.node in progress.complete or not is_selected(step_pod):
            continue
        lines = _log_lines(connection, run_id, step_pod)
        for line in lines[progress.counts.get(step_pod.node, 0) :]:
            yield step_pod, line
        progress.counts[step_pod.node] = len(lines)
        if step_pod.has_ended:
            progress.complete.add(step_pod.node)


def _log_lines(connection: KfpConnection, run_id: str, step_pod: StepPod) -> list[str]:
    """Returns a step's log lines, or one note with the error if KFP does not have its log."""
    try:
        return read_log(connection, run_id, step_pod).splitlines()
    except UnreachableError:
        raise
    except PipelinesError as error:
        return [f"{_NOTE_PREFIX}{error})"]


class OwnLineFilter:
    """Decides which lines of a log the step wrote itself, and which KFP or Argo wrote.

    It must see every line of one log in order, since a line of KFP may be followed by a JSON document.
    """

    def __init__(self) -> None:
        self._is_in_json = False
        self._is_json_next = False

    def accept(self, line: str) -> bool:
        """Returns whether the step wrote the log's next line."""
        if _FOREIGN_LINE.match(line):
            self._is_in_json = line.endswith("{")
            self._is_json_next = line.endswith(":")
            return False
        if self._is_json_next and line == "{":
            self._is_in_json = True
        self._is_json_next = False
        if self._is_in_json:
            self._is_in_json = line != "}"
            return False
        return True


def is_of_client(line: str, client: str) -> bool:
    """Returns whether a client's Job wrote the line, or the line is about the client's Job."""
    return line.startswith((f"{client} | ", f"{client}: "))


def is_note(line: str) -> bool:
    """Returns whether a line says why a log cannot be shown."""
    return line.startswith(_NOTE_PREFIX)


def _error_message(text: str) -> str:
    """Returns KFP's error message if KFP sent one instead of a log, otherwise an empty string.

    KFP sends it with HTTP status 200.
    """
    if not text.startswith('{"error_message"'):
        return ""
    try:
        return str(json.loads(text)["error_message"]).split(": ")[1]
    except (ValueError, IndexError):
        return "no such log"
