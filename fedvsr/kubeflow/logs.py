"""What a step wrote, while it runs and afterwards."""

import json
import re
import time
from collections.abc import Callable, Iterator

from fedvsr.errors import PipelinesError
from fedvsr.kubeflow.connection import Connection, UnreachableError
from fedvsr.kubeflow.runs import get_run
from fedvsr.kubeflow.steps import Step, run_steps

# What KFP's launcher, its executor and Argo write into the same log, each in a way of its own.
_NOT_OURS = re.compile(
    r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+\.go:\d+\]|\[KFP Executor |time=\S+ level=\w+ .*\bargo=true"
)
_POLL_SECONDS = 3.0
# Five minutes.
_MOST_FAILURES = 100


def read_log(connection: Connection, run_id: str, step: Step) -> str:
    """Returns what a step wrote so far; nothing where its pod has not begun.

    Raises:
        fedvsr.errors.PipelinesError: The step has ended, and KFP has its log no more.
    """
    # The pod while it is there, else the archive; the web server, which has a path of its own, knows both.
    reason = ""
    for node in (step.pod, step.node):
        text = connection.find_text(f"/apis/v1alpha1/runs/{run_id}/nodes/{node}/log")
        if text is None:
            text = connection.find_text(
                "/k8s/pod/logs", podname=step.pod, podnamespace=step.namespace, runid=run_id
            )
        if text is not None and not (reason := _failure(text)):
            return text
    if step.finished:
        raise PipelinesError(
            f"KFP at {connection.endpoint} has no log of {step.title} any more "
            f"({reason or 'no such log'}): its pod is gone, and Argo keeps logs "
            "only with archiveLogs in its artifact repository"
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
                lines = read_log(connection, run_id, step).splitlines()
                for line in lines[told.get(step.node, 0) :]:
                    yield step, line
                told[step.node] = len(lines)
                if step.finished:
                    complete.add(step.node)
            failures = 0
        except UnreachableError:
            # KFP may be started anew while a run goes on.
            failures += 1
            if not until_end or failures > _MOST_FAILURES:
                raise
            going = True
        if not going:
            return
        sleep(_POLL_SECONDS)


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
    """What KFP says went wrong; it says so under the status of a success."""
    if not text.startswith('{"error_message"'):
        return ""
    try:
        return str(json.loads(text)["error_message"])
    except ValueError:
        return ""
