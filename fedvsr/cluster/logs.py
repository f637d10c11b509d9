"""Follows a pod's log to its last line, whatever happens to the connection."""

import re
import threading
from collections.abc import Callable

from fedvsr.cluster.api import Cluster
from fedvsr.cluster.stream import StreamThread
from fedvsr.errors import ClusterError
from fedvsr.text import printable

_FIRST_WAIT, _LONGEST_WAIT = 0.2, 10.0
_MAX_LINE_BYTES = 4000
# What a client prints is stored by the federation, so it cannot print for ever.
_MAX_LINES = 20_000
# Once a pod has ended its log either can be read or has gone with its node.
_TRIES_AFTER_THE_END = 4
_NOT_FOUND = 404
_TIME = re.compile(r"\d{4}-\d\d-\d\dT")


class LogFollower(StreamThread):
    """Tells a pod's log line by line.

    Args:
        cluster: The cluster.
        namespace: The pod's namespace.
        pod: Its name.
        emit: Takes each line, printable and of a bearable length.
        done: Called once, after the last line.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        pod: str,
        emit: Callable[[str], None],
        done: Callable[[], None],
    ) -> None:
        super().__init__(f"log-{pod}")
        self._cluster, self._namespace, self._pod = cluster, namespace, pod
        self._emit, self._done = emit, done
        self._pod_ended = threading.Event()
        self._last = ""
        self._lines = 0

    def pod_ended(self) -> None:
        """Says that no more will be written: what is there is read to its end."""
        self._pod_ended.set()

    def run(self) -> None:
        try:
            self._follow()
        finally:
            self._done()

    def _follow(self) -> None:
        wait, tries = _FIRST_WAIT, 0
        while not self._stopped.is_set() and tries < _TRIES_AFTER_THE_END:
            ended = self._pod_ended.is_set()
            tries += ended
            told = self._lines
            try:
                self._read()
                if ended:
                    return
            except ClusterError as error:
                if error.status == _NOT_FOUND:
                    return
                # Broken off, or not begun: the next reading goes on after the last line.
            if self._lines > told:
                wait = _FIRST_WAIT
            if self._pod_ended.is_set():
                # Only where reading failed is there anything to wait for.
                self._stopped.wait(wait if ended else 0)
            else:
                self._pod_ended.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _read(self) -> None:
        with self._cluster.follow_log(self._namespace, self._pod, self._last) as stream:
            if not self._begin(stream):
                return
            for line in stream.lines(most=_MAX_LINE_BYTES):
                if self._stopped.is_set():
                    return
                time, _, text = line.decode("utf-8", "replace").partition(" ")
                # Kubernetes takes whole seconds: what was told of the last one comes again. A line without
                # a time is the node's own, which cannot find the log.
                if not _TIME.match(time) or time <= self._last:
                    continue
                self._last = time
                self._tell(text)

    def _tell(self, text: str) -> None:
        self._lines += 1
        if self._lines <= _MAX_LINES:
            self._emit(printable(text, _MAX_LINE_BYTES))
        elif self._lines == _MAX_LINES + 1:
            self._emit(f"… more than {_MAX_LINES} lines: the rest is left out")
