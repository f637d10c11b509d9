"""Keeps up with what happens to Jobs and pods, through lost connections and forgotten histories."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from fedvsr.cluster.api import Cluster, is_passing
from fedvsr.cluster.states import Json
from fedvsr.cluster.stream import StreamThread
from fedvsr.errors import ClusterError

_GONE = 410
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 20.0


@dataclass(frozen=True)
class Listed:
    """All that there is of a kind in a namespace: what is not in it is gone."""

    kind: str
    namespace: str
    items: tuple[Json, ...]


@dataclass(frozen=True)
class Changed:
    """One object that was made, changed or, where ``gone``, deleted; then as it was last."""

    kind: str
    namespace: str
    item: Json
    gone: bool


@dataclass(frozen=True)
class Blind:
    """A namespace may not be watched."""

    namespace: str
    error: ClusterError


Sight = Listed | Changed | Blind


class Watcher(StreamThread):
    """Tells what there is of a kind in a namespace, then every change, until it is stopped.

    Args:
        cluster: The cluster.
        kind: `fedvsr.cluster.api.JOBS` or `PODS`.
        namespace: The namespace.
        selector: The labels of what is watched.
        emit: Takes what is seen.
    """

    def __init__(
        self, cluster: Cluster, kind: str, namespace: str, selector: str, emit: Callable[[Sight], None]
    ) -> None:
        super().__init__(f"watch-{kind}-{namespace}")
        self._cluster, self._kind, self._namespace = cluster, kind, namespace
        self._selector, self._emit = selector, emit

    def run(self) -> None:
        version, wait = "", _FIRST_WAIT
        while not self._stopped.is_set():
            try:
                if not version:
                    listing = self._cluster.list_once(self._kind, self._namespace, self._selector)
                    version = listing.version
                    self._emit(Listed(self._kind, self._namespace, listing.items))
                version = self._watch(version)
                if version:
                    wait = _FIRST_WAIT
                    continue
            except ClusterError as error:
                if not is_passing(error) and error.status != _GONE:
                    self._emit(Blind(self._namespace, error))
                    return
                version = ""
            except ValueError:
                # A line that was cut off in the middle.
                version = ""
            self._stopped.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _watch(self, version: str) -> str:
        """Watches until the server ends it; returns where to go on, empty where that is forgotten."""
        with self._cluster.watch(self._kind, self._namespace, self._selector, version) as stream:
            if not self._begin(stream):
                return ""
            for line in stream.lines():
                event = json.loads(line)
                what, item = event["type"], event["object"]
                if what == "ERROR":
                    return ""
                version = item["metadata"]["resourceVersion"]
                if what != "BOOKMARK":
                    self._emit(Changed(self._kind, self._namespace, item, gone=what == "DELETED"))
        return version
