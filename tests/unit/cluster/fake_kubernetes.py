"""A Kubernetes API in this process: HTTP and JSON as the real one speaks them, and a script for its Jobs.

It knows Jobs, pods, their logs, events and whatever else is put there, lists them by label and field,
watches them with resource versions, and can fail, forget or drop what it is told to.
"""

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
        on_job: Called in a thread of its own with every Job that is made: plays its life.
        faults: Each is asked about a request and returns None, an HTTP status, one and a message, or RESET.
        requests: Method and path of every request so far.
        dry_runs: What was sent to be checked only.
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

    # What a test does to it.

    def moment(self, seconds: int) -> str:
        """A time as Kubernetes writes it, so many seconds after this API began."""
        return (self._born + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")

    def put(self, kind: str, namespace: str, item: Json) -> Json:
        """Writes an object and tells the watches."""
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
        """Takes an object away, its pods with it where it is a Job."""
        with self.changed:
            item = self.objects.pop((kind, namespace, name), None)
            if item is None:
                return
            self.version += 1
            gone = copy.deepcopy(item)
            gone["metadata"]["resourceVersion"] = str(self.version)
            self.history.append((self.version, kind, namespace, "DELETED", gone))
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

    def start_pod(self, job: Json, name: str, lines: tuple[str, ...] = (), **status: Any) -> Json:
        """Makes a pod of a Job; without a status it is running and has written some lines."""
        for line in lines:
            self.write(name, line)
        running = {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}
        labels = {
            **job["metadata"]["labels"],
            "batch.kubernetes.io/job-name": job["metadata"]["name"],
            "batch.kubernetes.io/controller-uid": job["metadata"]["uid"],
        }
        number = sum(_owner(each) == job["metadata"]["name"] for each in self.objects.values())
        pod = {
            "metadata": {"name": name, "labels": labels, "creationTimestamp": self.moment(number)},
            "spec": {"containers": job["spec"]["template"]["spec"]["containers"]},
            "status": status or running,
        }
        return self.put("pods", job["metadata"]["namespace"], pod)

    def end_pod(self, pod: Json, code: int, reason: str = "Error", message: str = "", **status: Any) -> None:
        """Ends a pod's container and closes its log."""
        phase = "Succeeded" if code == 0 else "Failed"
        ended = {"exitCode": code, "reason": reason, "message": message, "startedAt": self.moment(0)}
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
        """Hangs up on whoever watches or follows a log."""
        with self.changed:
            self.dropped += 1
            self.changed.notify_all()

    def forget_history(self) -> None:
        """Makes every watch that goes on from before now begin anew: 410 Gone."""
        with self.changed:
            self.forgotten = self.version
            self.dropped += 1
            self.changed.notify_all()

    def wait_for(self, seen: Callable[[], bool]) -> None:
        """Waits until something has happened."""
        with self.changed:
            assert self.changed.wait_for(seen, timeout=20), "it did not happen"

    def asked(self, method: str, part: str) -> int:
        """How often something was asked for."""
        return sum(found == method and part in path for found, path in self.requests)

    def names(self, kind: str) -> list[str]:
        return [name for found, _, name in self.objects if found == kind]

    # What the API does.

    def play(self, job: Json) -> None:
        def life() -> None:
            try:
                self.on_job(job)
            except BaseException as error:
                self.failure = error

        player = threading.Thread(target=life, daemon=True)
        self._players.append(player)
        player.start()


def _owner(item: Json) -> str:
    return str(item["metadata"].get("labels", {}).get("batch.kubernetes.io/job-name", ""))


def _chosen(item: Json, query: dict[str, str]) -> bool:
    labels = item["metadata"].get("labels", {})
    for pair in filter(None, query.get("labelSelector", "").split(",")):
        name, _, value = pair.partition("=")
        if labels.get(name) != value:
            return False
    for pair in filter(None, query.get("fieldSelector", "").split(",")):
        path, _, value = pair.partition("=")
        found: Any = item
        for part in path.split("."):
            found = found.get(part, {})
        if found != value:
            return False
    return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeKubernetes

    def log_message(self, *arguments: object) -> None:
        pass

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
            fault = next(filter(None, (each(method, url.path, query) for each in self.fake.faults)), None)
        if fault == RESET:
            self.close_connection = True
            return
        if fault:
            status, message = fault if isinstance(fault, tuple) else (fault, f"told to answer {fault}")
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
                found = copy.deepcopy(self.fake.objects.get((kind, namespace, name)))
                if found is None:
                    self._send(404, {"kind": "Status", "message": f'{kind} "{name}" not found'})
                else:
                    self._send(200, found)
                return
            items = [
                copy.deepcopy(item)
                for (each, where, _), item in self.fake.objects.items()
                if (each, where) == (kind, namespace) and _chosen(item, query)
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
            made = copy.deepcopy(self.fake.put(kind, namespace, body))
        self.fake.play(made)
        self._send(201, made)

    def _delete(self, kind: str, namespace: str, name: str, body: Json) -> None:
        with self.fake.changed:
            found = self.fake.objects.get((kind, namespace, name))
            if found is None:
                self._send(404, {"kind": "Status", "message": "not found"})
                return
            wanted = (body.get("preconditions") or {}).get("uid")
            if wanted and wanted != found["metadata"]["uid"]:
                self._send(409, {"kind": "Status", "message": "another uid"})
                return
            self.fake.remove(kind, namespace, name)
        self._send(200, {"kind": "Status", "status": "Success"})

    def _watch(self, kind: str, namespace: str, query: dict[str, str]) -> None:
        fake = self.fake
        with fake.changed:
            since, dropped = int(query["resourceVersion"]), fake.dropped
            gone = since < fake.forgotten
        self._begin()
        if gone:
            error = {"kind": "Status", "code": 410, "message": "too old resource version"}
            self._chunk(json.dumps({"type": "ERROR", "object": error}))
            self._end()
            return
        while True:
            with fake.changed:
                new = [each for each in fake.history if each[0] > since]
                if fake.dropped != dropped:
                    self.close_connection = True
                    return
                if not new:
                    fake.changed.wait()
                    continue
            for version, found, where, type_, item in new:
                since = version
                if (found, where) == (kind, namespace) and _chosen(item, query):
                    self._chunk(json.dumps({"type": type_, "object": item}))

    def _log(self, pod: str, query: dict[str, str]) -> None:
        fake = self.fake
        with fake.changed:
            exists = pod in fake.names("pods")
            dropped, told = fake.dropped, 0
        if not exists:
            self._send(404, {"kind": "Status", "message": "no such pod"})
            return
        # The real one looks at whole seconds.
        since = query.get("sinceTime", "")[:19]
        self._begin()
        while True:
            with fake.changed:
                lines = fake.logs.get(pod, [])[told:]
                if fake.dropped != dropped:
                    self.close_connection = True
                    return
                if not lines and pod in fake.ended_logs:
                    break
                if not lines:
                    fake.changed.wait()
                    continue
                told += len(lines)
            for stamp, line in lines:
                if stamp[:19] >= since:
                    self._chunk(f"{stamp} {line}")
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
    """The lines of a client's log among the messages of a progress."""
    prefix = f"{client} | "
    return (message.removeprefix(prefix) for message in messages if message.startswith(prefix))
