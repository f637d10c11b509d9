"""Follows a pod's log to its last line, even if the connection is lost."""

import re
import threading
from collections.abc import Callable

from fedvsr.cluster.api import Cluster
from fedvsr.cluster.stream import StreamThread
from fedvsr.errors import ClusterError
from fedvsr.text import printable

_MIN_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.2, 10.0
_MAX_LINE_BYTES = 4000
# The federation stores what a client prints, so the amount is limited.
_MAX_LINES = 20_000
# If the log of an ended pod cannot be read after a few attempts, it was lost with its node.
_MAX_READS_AFTER_THE_END = 4
_NOT_FOUND = 404
_TIME = re.compile(r"\d{4}-\d\d-\d\dT")


class LogFollower(StreamThread):
    """Reports a pod's log line by line.

    Args:
        cluster: The cluster.
        namespace: The pod's namespace.
        pod: The pod's name.
        on_line: Called in this thread for each line, made printable and cut to a maximum length.
        on_end: Called once, after the last line.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        pod: str,
        on_line: Callable[[str], None],
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(f"log-{pod}")
        self._cluster, self._namespace, self._pod = cluster, namespace, pod
        self._on_line, self._on_end = on_line, on_end
        self._pod_ended = threading.Event()
        self._last_time = ""
        self._line_count = 0

    def mark_pod_ended(self) -> None:
        """Makes this thread read the rest of the log and end; called if the pod has ended."""
        self._pod_ended.set()

    def run(self) -> None:
        try:
            self._follow()
        finally:
            self._on_end()

    def _follow(self) -> None:
        wait, reads_after_the_end = _MIN_WAIT_SECONDS, 0
        while not self._stopped.is_set() and reads_after_the_end < _MAX_READS_AFTER_THE_END:
            pod_had_ended = self._pod_ended.is_set()
            reads_after_the_end += pod_had_ended
            lines_before = self._line_count
            try:
                self._read()
                if pod_had_ended:
                    return
            except ClusterError as error:
                if error.status == _NOT_FOUND:
                    return
                # The connection broke or failed. The next read continues after the last line.
            if self._line_count > lines_before:
                wait = _MIN_WAIT_SECONDS
            if self._pod_ended.is_set():
                # Wait only after a read that failed; a pod that ended during the read is read at once.
                self._stopped.wait(wait if pod_had_ended else 0)
            else:
                self._pod_ended.wait(wait)
            wait = min(2 * wait, _MAX_WAIT_SECONDS)

    def _read(self) -> None:
        with self._cluster.follow_log(self._namespace, self._pod, self._last_time) as stream:
            if not self._attach(stream):
                return
            for line in stream.lines(max_bytes=_MAX_LINE_BYTES):
                if self._stopped.is_set():
                    return
                stamp, _, text = line.decode("utf-8", "replace").partition(" ")
                # Kubernetes continues at a whole second, so it sends some lines again. A line without a time
                # is a message of the node that it cannot find the log.
                if not _TIME.match(stamp) or stamp <= self._last_time:
                    continue
                self._last_time = stamp
                self._report(text)

    def _report(self, text: str) -> None:
        self._line_count += 1
        if self._line_count <= _MAX_LINES:
            self._on_line(printable(text, _MAX_LINE_BYTES))
        elif self._line_count == _MAX_LINES + 1:
            self._on_line(f"… more than {_MAX_LINES} lines: the rest is left out")
