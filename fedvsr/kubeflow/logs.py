"""What a step wrote, while it runs and afterwards."""

import json
import re
import time
from collections.abc import Callable, Iterator

from fedvsr.errors import PipelinesError
from fedvsr.kubeflow.connection import UI_VARIABLE, Connection, UnreachableError
from fedvsr.kubeflow.runs import get_run
from fedvsr.kubeflow.steps import Step, run_steps

# What KFP's launcher, its executor and Argo write into the same log, each in a way of its own.
_NOT_OURS = re.compile(
    r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+\.go:\d+\]|\[KFP Executor |time=\S+ level=\w+ .*\bargo=true"
)
_POLL_SECONDS = 3.0
# Five minutes.
_MAX_FAILURES = 100


def read_log(connection: Connection, run_id: str, step: Step) -> str:
    """Returns what a step wrote so far; nothing where its pod has not begun.

    KFP's web server has the logs of pods and of the archive. The API of KFP 2.17 has those of the archive
    alone, since it asks Kubernetes for a pod without saying in which namespace, and those only while the
    run is short: it does not read the nodes of a workflow that Argo has packed.

    Raises:
        fedvsr.errors.PipelinesError: The step has ended, and its log is nowhere.
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
            f"KFP at {connection.endpoint} has no log of {step.title} ({reason or 'no such log'}); give the "
            f"address of KFP's web server, which has more of them, as --endpoint or in {UI_VARIABLE}"
        )
    return ""


def follow_logs(
    connection: Connection,
    run_id: str,
    wanted: Callable[[Step], bool],
    *,
    until_end: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[Step, str]]:
    """Yields what the steps of a run write, each line with its step.

    KFP's own way to follow a log gives what is there and ends: it is read again and again.

    Args:
        connection: The KFP.
        run_id: The run.
        wanted: Which steps.
        until_end: Whether to go on until the run has ended, or to take what is there now.
        sleep: Waits so many seconds.
    """
    told: dict[str, int] = {}
    complete: set[str] = set()
    failures = 0
    while True:
        try:
            going = until_end and get_run(connection, run_id).going
            for step in run_steps(connection, run_id):
                if step.node in complete or not wanted(step):
                    continue
                lines = _lines_of(connection, run_id, step)
                for line in lines[told.get(step.node, 0) :]:
                    yield step, line
                told[step.node] = len(lines)
                if step.finished:
                    complete.add(step.node)
            failures = 0
        except UnreachableError:
            # KFP may be started anew while a run goes on.
            failures += 1
            if not until_end or failures > _MAX_FAILURES:
                raise
            going = True
        if not going:
            return
        sleep(_POLL_SECONDS)


def _lines_of(connection: Connection, run_id: str, step: Step) -> list[str]:
    """A step's lines, or why there are none, so that the other steps' are still told."""
    try:
        return read_log(connection, run_id, step).splitlines()
    except UnreachableError:
        raise
    except PipelinesError as error:
        return [f"({error})"]


class OwnLines:
    """Says which lines of a log its step wrote, as against KFP and Argo; asked line by line."""

    def __init__(self) -> None:
        # A line of theirs may go on with a JSON document.
        self._inside = False
        self._expected = False

    def __call__(self, line: str) -> bool:
        if _NOT_OURS.match(line):
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
    """Says whether a line was written by a client's Job, or is about it."""
    return line.startswith((f"{client} | ", f"{client}: "))


def _failure(text: str) -> str:
    """What KFP says went wrong, without what led to it; it says so under the status of a success."""
    if not text.startswith('{"error_message"'):
        return ""
    try:
        return str(json.loads(text)["error_message"]).split(": ")[1]
    except (ValueError, IndexError):
        return "no such log"
