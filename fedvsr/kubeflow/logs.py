"""Logs of steps, while they run and afterwards."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fedvsr.errors import PipelinesError
from fedvsr.kubeflow.connection import UI_VARIABLE, Connection, UnreachableError
from fedvsr.kubeflow.runs import get_run
from fedvsr.kubeflow.steps import Step, run_steps

# Lines of KFP's launcher, of KFP's executor and of Argo, which write into the same log.
_FOREIGN_LINE = re.compile(
    r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+\.go:\d+\]|\[KFP Executor |time=\S+ level=\w+ .*\bargo=true"
)
_POLL_SECONDS = 3.0
_MAX_FAILURES = 100  # five minutes


def read_log(connection: Connection, run_id: str, step: Step) -> str:
    """Returns a step's log so far; empty if its pod has not started.

    KFP's web server has the logs of running pods and of the archive. The API of KFP 2.17 has only the
    archive's logs, since it asks Kubernetes for a pod without its namespace. For long runs it has none,
    since it does not read the nodes of a workflow that Argo has compressed.

    Raises:
        fedvsr.errors.PipelinesError: The step has ended and KFP has no log of it.
    """
    text = connection.find_pod_log(step.pod, step.namespace, run_id)
    if text is not None:
        return text
    reason = ""
    for node in (step.pod, step.node):
        text = connection.find_text(f"/apis/v1alpha1/runs/{run_id}/nodes/{node}/log")
        if text is not None and not (reason := _failure(text)):
            return text
    if step.finished:
        raise PipelinesError(
            f"KFP at {connection.endpoint} has no log of {step.title} ({reason or 'no such log'}); set the "
            f"address of KFP's web server, which has more logs, with --endpoint or {UI_VARIABLE}"
        )
    return ""


def follow_logs(
    connection: Connection,
    run_id: str,
    is_selected: Callable[[Step], bool],
    *,
    until_end: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[Step, str]]:
    """Yields the lines that the steps of a run write, each with its step.

    KFP cannot follow a log, so this reads the logs again and again.

    Args:
        connection: The KFP.
        run_id: The run's id.
        is_selected: Returns whether to read a step's log.
        until_end: Whether to follow until the run has ended; otherwise the logs are read once.
        sleep: Waits a number of seconds.

    Raises:
        fedvsr.errors.PipelinesError: KFP refused, or did not answer for too long.
    """
    progress = _Progress()
    failures = 0
    while True:
        try:
            is_going = until_end and get_run(connection, run_id).is_going
            yield from _new_lines(connection, run_id, is_selected, progress)
            failures = 0
        except UnreachableError:
            # KFP may restart while a run goes on.
            failures += 1
            if not until_end or failures > _MAX_FAILURES:
                raise
            is_going = True
        if not is_going:
            return
        sleep(_POLL_SECONDS)


@dataclass
class _Progress:
    """The lines that were yielded: their number by the step's node, and the nodes that are complete."""

    counts: dict[str, int] = field(default_factory=dict)
    complete: set[str] = field(default_factory=set)


def _new_lines(
    connection: Connection, run_id: str, is_selected: Callable[[Step], bool], progress: _Progress
) -> Iterator[tuple[Step, str]]:
    for step in run_steps(connection, run_id):
        if step.node in progress.complete or not is_selected(step):
            continue
        lines = _lines_of(connection, run_id, step)
        for line in lines[progress.counts.get(step.node, 0) :]:
            yield step, line
        progress.counts[step.node] = len(lines)
        if step.finished:
            progress.complete.add(step.node)


def _lines_of(connection: Connection, run_id: str, step: Step) -> list[str]:
    """Returns a step's lines, or one line with the error, so that the other steps are still shown."""
    try:
        return read_log(connection, run_id, step).splitlines()
    except UnreachableError:
        raise
    except PipelinesError as error:
        return [f"({error})"]


class OwnLines:
    """Tells the lines that a step wrote from those of KFP and Argo. Call it with each line in order."""

    def __init__(self) -> None:
        # A foreign line may be followed by a JSON document.
        self._inside = False
        self._expected = False

    def __call__(self, line: str) -> bool:
        if _FOREIGN_LINE.match(line):
            self._inside = line.endswith("{")
            self._expected = line.endswith(":")
            return False
        if self._expected and line == "{":
            self._inside = True
        self._expected = False
        if self._inside:
            self._inside = line != "}"
            return False
        return True


def is_of_client(line: str, client: str) -> bool:
    """Returns whether a line was written by a client's Job or is about it."""
    return line.startswith((f"{client} | ", f"{client}: "))


def _failure(text: str) -> str:
    """Returns KFP's error message if the text is one, otherwise an empty string.

    KFP sends it with the status of a success.
    """
    if not text.startswith('{"error_message"'):
        return ""
    try:
        return str(json.loads(text)["error_message"]).split(": ")[1]
    except (ValueError, IndexError):
        return "no such log"
