"""A Kubernetes API in this process: HTTP and JSON like the real one, and a script that plays its Jobs.

It has Jobs, pods, their logs, events and every other object that a test puts there. It lists them by label
and field and watches them with resource versions. Tests make it fail, forget its history or drop streams.
"""

import contextlib
import copy
import itertools
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes.client import ApiClient, Configuration

from fedvsr.cluster.api import Cluster

Json = dict[str, Any]

RESET = "reset"


class FakeKubernetes:
    """The API's state; a context manager that serves it.

    Attributes:
        on_job: Called in its own thread for each Job that is created; plays what becomes of it.
        faults: Functions of method, path and query that return None, an HTTP status, a status with a
            message, or RESET.
        requests: Method and path of every request so far.
        dry_runs: Objects that were only sent to be checked.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.objects: dict[tuple[str, str, str], Json] = {}
        self.history: list[tuple[int, str, str, str, Json]] = []
        self.forgotten = 0
        self.version = 0
        self.logs: dict[str, list[tuple[str, str]]] = {}
        self.ended_logs: set[str] = set()
        self.dropped = 0
        self.requests: list[tuple[str, str]] = []
        self.dry_runs: list[Json] = []
        self.faults: list[Callable[[str, str, dict[str, str]], Any]] = []
        self.on_job: Callable[[Json], None] = lambda job: None
        self.failure: BaseException | None = None
        self._stamps = itertools.count()
        self._born = datetime.now(UTC).replace(microsecond=0)
        self._players: list[threading.Thread] = []
        handler = type("Handler", (_Handler,), {"fake": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> "FakeKubernetes":
        self._thread.start()
        return self

    def __exit__(self, *arguments: object) -> None:
        self.drop_streams()
        self._server.shutdown()
        self._server.server_close()
        for player in self._players:
            player.join(10)
        if self.failure:
            raise self.failure

    def cluster(self) -> Cluster:
        configuration = Configuration(host=f"http://127.0.0.1:{self._server.server_address[1]}")
        configuration.retries = False
        configuration.connection_pool_maxsize = 64
        return Cluster(ApiClient(configuration), waits=(0.01, 0.02, 0.05))

    def kubeconfig(self) -> str:
        """A kubeconfig file's text, with this API as the current context."""
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "fake",
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
                "clusters": [
                    {
                        "name": "fake",
                        "cluster": {"server": f"http://127.0.0.1:{self._server.server_address[1]}"},
                    }
                ],
                "users": [{"name": "fake", "user": {}}],
            }
        )

    # Called by tests.

    def moment(self, seconds: int) -> str:
        """Returns the time that is this many seconds after the start of the API, as Kubernetes writes it."""
        return (self._born + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")

    def put(self, kind: str, namespace: str, item: Json) -> Json:
        """Writes an object and notifies the watches."""
        with self.changed:
            key = (kind, namespace, item["metadata"]["name"])
            type_ = "MODIFIED" if key in self.objects else "ADDED"
            self.version += 1
            item["metadata"]["namespace"] = namespace
            item["metadata"]["resourceVersion"] = str(self.version)
            item["metadata"].setdefault("uid", uuid.uuid4().hex)
            item["metadata"].setdefault("creationTimestamp", self.moment(0))
            self.objects[key] = item
            self.history.append((self.version, kind, namespace, type_, copy.deepcopy(item)))
            self.changed.notify_all()
        return item

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Deletes an object; with a Job, also its pods."""
        with self.changed:
            item = self.objects.pop((kind, namespace, name), None)
            if item is None:
                return
            self.version += 1
            deleted = copy.deepcopy(item)
            deleted["metadata"]["resourceVersion"] = str(self.version)
            self.history.append((self.version, kind, namespace, "DELETED", deleted))
            if kind == "pods":
                self.ended_logs.add(name)
            else:
                for pod in [
                    key for key in self.objects if key[0] == "pods" and _owner(self.objects[key]) == name
                ]:
                    self.remove(*pod)
            self.changed.notify_all()

    def end_job(self, job: Json, condition: str, reason: str = "", message: str = "") -> None:
        """Gives a Job its last condition."""
        status = {"type": condition, "status": "True", "reason": reason, "message": message}
        job = copy.deepcopy(self.objects["jobs", job["metadata"]["namespace"], job["metadata"]["name"]])
        job["status"].setdefault("conditions", []).append({**status, "lastTransitionTime": self.moment(7)})
        self.put("jobs", job["metadata"]["namespace"], job)

    def start_pod(
        self, job: Json, name: str, lines: tuple[str, ...] = (), index: int | None = None, **status: Any
    ) -> Json:
        """Creates a pod of a Job. If it has no status, it is running and has written some lines.

        In an Indexed Job, it has an index.
        """
        for line in lines:
            self.write(name, line)
        running = {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}
        labels = {
            **job["metadata"]["labels"],
            "batch.kubernetes.io/job-name": job["metadata"]["name"],
            "batch.kubernetes.io/controller-uid": job["metadata"]["uid"],
        }
        number = sum(_owner(item) == job["metadata"]["name"] for item in self.objects.values())
        pod = {
            "metadata": {"name": name, "labels": labels, "creationTimestamp": self.moment(number)},
            "spec": {"containers": job["spec"]["template"]["spec"]["containers"]},
            "status": status or running,
        }
        if index is not None:
            pod["metadata"]["annotations"] = {"batch.kubernetes.io/job-completion-index": str(index)}
        return self.put("pods", job["metadata"]["namespace"], pod)

    def end_index(self, job: Json, index: int, *, failed: bool = False) -> None:
        """Adds an index to those of an Indexed Job that have succeeded, or that have no tries left."""
        with self.changed:
            key = ("jobs", job["metadata"]["namespace"], job["metadata"]["name"])
            if key not in self.objects:
                return
            job = copy.deepcopy(self.objects[key])
            field = "failedIndexes" if failed else "completedIndexes"
            indexes = [*filter(None, job["status"].get(field, "").split(",")), str(index)]
            job["status"][field] = ",".join(indexes)
            self.put("jobs", job["metadata"]["namespace"], job)

    def end_pod(self, pod: Json, code: int, reason: str = "Error", message: str = "", **status: Any) -> None:
        """Ends a pod's container and closes its log."""
        phase = "Succeeded" if code == 0 else "Failed"
        ended = {
            "exitCode": code,
            "reason": reason,
            "message": message,
            "startedAt": self.moment(0),
            "finishedAt": self.moment(7),
        }
        pod = copy.deepcopy(pod)
        pod["status"] = {"phase": phase, "containerStatuses": [{"state": {"terminated": ended}}], **status}
        with self.changed:
            self.ended_logs.add(pod["metadata"]["name"])
        self.put("pods", pod["metadata"]["namespace"], pod)

    def write(self, pod: str, line: str) -> None:
        """Writes a line to a pod's log."""
        with self.changed:
            stamp = f"2026-01-01T00:00:{next(self._stamps):012.9f}Z"
            self.logs.setdefault(pod, []).append((stamp, line))
            self.changed.notify_all()

    def drop_streams(self) -> None:
        """Closes all watches and followed logs."""
        with self.changed:
            self.dropped += 1
            self.changed.notify_all()

    def forget_history(self) -> None:
        """Answers 410 Gone to every watch that continues from before now."""
        with self.changed:
            self.forgotten = self.version
            self.dropped += 1
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Waits until a condition holds."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout=20), "it did not happen"

    def request_count(self, method: str, path_part: str) -> int:
        """Returns the number of requests of a method whose path has this part."""
        return sum(request[0] == method and path_part in request[1] for request in self.requests)

    def names(self, kind: str) -> list[str]:
        """Returns the names of all objects of a kind."""
        return [name for object_kind, _, name in self.objects if object_kind == kind]

    # Called by the API.

    def play(self, job: Json) -> None:
        def run_script() -> None:
            try:
                self.on_job(job)
            except BaseException as error:
                self.failure = error

        player = threading.Thread(target=run_script, daemon=True)
        self._players.append(player)
        player.start()


def _owner(item: Json) -> str:
    return str(item["metadata"].get("labels", {}).get("batch.kubernetes.io/job-name", ""))


def _is_selected(item: Json, query: dict[str, str]) -> bool:
    labels = item["metadata"].get("labels", {})
    for pair in filter(None, query.get("labelSelector", "").split(",")):
        name, _, value = pair.partition("=")
        if labels.get(name) != value:
            return False
    for pair in filter(None, query.get("fieldSelector", "").split(",")):
        path, _, value = pair.partition("=")
        field: Any = item
        for part in path.split("."):
            field = field.get(part, {})
        if field != value:
            return False
    return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeKubernetes

    def log_message(self, *arguments: object) -> None:
        pass

    def handle(self) -> None:
        # Who watches may close the connection while a change is sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            super().handle()

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        with self.fake.changed:
            self.fake.requests.append((method, self.path))
            self.fake.changed.notify_all()
            fault = next(filter(None, (find(method, url.path, query) for find in self.fake.faults)), None)
        if fault == RESET:
            self.close_connection = True
            return
        if fault:
            status, message = fault if isinstance(fault, tuple) else (fault, f"the test wants {fault}")
            self._send(status, {"kind": "Status", "message": message})
            return
        parts = url.path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        if parts[0] != "namespaces" or len(parts) < 3:
            self._get(parts[0], "", parts[1] if len(parts) > 1 else "", query)
            return
        namespace, kind, name = parts[1], parts[2], parts[3] if len(parts) > 3 else ""
        if len(parts) > 4:
            self._log(name, query)
        elif method == "POST":
            self._create(kind, namespace, body, query)
        elif method == "DELETE":
            self._delete(kind, namespace, name, body)
        elif query.get("watch"):
            self._watch(kind, namespace, query)
        else:
            self._get(kind, namespace, name, query)

    def _get(self, kind: str, namespace: str, name: str, query: dict[str, str]) -> None:
        with self.fake.changed:
            if name:
                item = copy.deepcopy(self.fake.objects.get((kind, namespace, name)))
                if item is None:
                    self._send(404, {"kind": "Status", "message": f'{kind} "{name}" not found'})
                else:
                    self._send(200, item)
                return
            items = [
                copy.deepcopy(item)
                for key, item in self.fake.objects.items()
                if key[:2] == (kind, namespace) and _is_selected(item, query)
            ]
            listing = {"items": items, "metadata": {"resourceVersion": str(self.fake.version)}}
        self._send(200, listing)

    def _create(self, kind: str, namespace: str, body: Json, query: dict[str, str]) -> None:
        if query.get("dryRun"):
            self.fake.dry_runs.append(body)
            self._send(201, body)
            return
        with self.fake.changed:
            if (kind, namespace, body["metadata"]["name"]) in self.fake.objects:
                self._send(409, {"kind": "Status", "message": "it already exists"})
                return
            body["status"] = {"startTime": self.fake.moment(0)}
            job = copy.deepcopy(self.fake.put(kind, namespace, body))
        self.fake.play(job)
        self._send(201, job)

    def _delete(self, kind: str, namespace: str, name: str, body: Json) -> None:
        with self.fake.changed:
            item = self.fake.objects.get((kind, namespace, name))
            if item is None:
                self._send(404, {"kind": "Status", "message": "not found"})
                return
            required_uid = (body.get("preconditions") or {}).get("uid")
            if required_uid and required_uid != item["metadata"]["uid"]:
                self._send(409, {"kind": "Status", "message": "another uid"})
                return
            self.fake.remove(kind, namespace, name)
        self._send(200, {"kind": "Status", "status": "Success"})

    def _watch(self, kind: str, namespace: str, query: dict[str, str]) -> None:
        fake = self.fake
        with fake.changed:
            since, dropped = int(query["resourceVersion"]), fake.dropped
            is_forgotten = since < fake.forgotten
        self._begin()
        if is_forgotten:
            error = {"kind": "Status", "code": 410, "message": "too old resource version"}
            self._chunk(json.dumps({"type": "ERROR", "object": error}))
            self._end()
            return
        while True:
            with fake.changed:
                new = [event for event in fake.history if event[0] > since]
                if fake.dropped != dropped:
                    self.close_connection = True
                    return
                if not new:
                    fake.changed.wait()
                    continue
            for version, item_kind, item_namespace, type_, item in new:
                since = version
                if (item_kind, item_namespace) == (kind, namespace) and _is_selected(item, query):
                    self._chunk(json.dumps({"type": type_, "object": item}))

    def _log(self, pod: str, query: dict[str, str]) -> None:
        fake = self.fake
        with fake.changed:
            exists = pod in fake.names("pods")
            dropped, sent = fake.dropped, 0
        if not exists:
            self._send(404, {"kind": "Status", "message": "no such pod"})
            return
        # The real one compares whole seconds.
        since = query.get("sinceTime", "")[:19]
        self._begin()
        while True:
            with fake.changed:
                lines = fake.logs.get(pod, [])[sent:]
                if fake.dropped != dropped:
                    self.close_connection = True
                    return
                if not lines and pod in fake.ended_logs:
                    break
                if not lines:
                    fake.changed.wait()
                    continue
                sent += len(lines)
            for stamp, line in lines:
                if stamp[:19] >= since:
                    self._chunk(f"{stamp} {line}" if "timestamps" in query else line)
        self._end()

    def _send(self, status: int, body: Json) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, line: str) -> None:
        data = line.encode() + b"\n"
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _end(self) -> None:
        self.wfile.write(b"0\r\n\r\n")


def lines_of(messages: list[str], client: str) -> Iterator[str]:
    """Returns the lines of a client's log among progress messages."""
    prefix = f"{client} | "
    return (message.removeprefix(prefix) for message in messages if message.startswith(prefix))
