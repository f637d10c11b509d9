"""A fake KFP server: the part of the REST API that fedvsr uses, with the answers of version 2.17."""

import base64
import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

NEVER = "1970-01-01T00:00:00Z"
LAUNCHER = """\
I1123 19:46:48.738736      15 main.go:67] Setting log level to: '1'
[KFP Executor 2026-11-23 19:46:48,859 INFO]: Got executor_input:
{
    "inputs": {
        "parameterValues": {}
    }
}
"""
ENDING = """\
I1123 19:46:53.876909      15 launcher_v2.go:1230] ExecutorOutput: {
  "artifacts": {
    "executor-logs": {}
  }
}
time=2026-11-23T19:46:54.716Z level=INFO msg="sub-process exited" argo=true error=<nil>
"""


class FakeKfp:
    """The server's state, which tests read and change."""

    def __init__(self) -> None:
        self.pipelines: list[dict[str, Any]] = []
        self.versions: list[dict[str, Any]] = []
        self.experiments: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.nodes: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.packages: list[bytes] = []
        self.requests: list[tuple[str, str]] = []
        self.tokens: set[str | None] = set()
        self.page_size = 100
        self.is_web_server = False
        self.stubborn = False
        self.packs_nodes = False
        self.answers_with_a_page = False
        self.lost_workflows: set[str] = set()
        self.url = ""

    def add_run(
        self, name: str, state: str = "SUCCEEDED", pipeline: str | None = None, **parameters: Any
    ) -> str:
        """Adds a run of the first pipeline or of another one; returns the run's id."""
        run_id = f"run-{len(self.runs)}"
        self.runs.append(
            {
                "run_id": run_id,
                "display_name": name,
                "state": state,
                "storage_state": "AVAILABLE",
                "created_at": f"2026-11-23T19:0{len(self.runs)}:00Z",
                "finished_at": "2026-11-23T20:00:00Z" if state in ("SUCCEEDED", "FAILED") else NEVER,
                "pipeline_version_reference": {"pipeline_id": pipeline or "pipeline-0"},
                "runtime_config": {"parameters": {"run_name": name, **parameters}},
            }
        )
        return run_id

    def add_step(self, task: str, round_number: int | None, phase: str = "Succeeded", log: str = "") -> str:
        """Adds a step's pod to the workflow of every run; returns its node."""
        number = len(self.nodes)
        place = (
            "root(0)"
            if round_number is None
            else f"rounds(0).iteration({number}:{number})(0).iteration-item(0)"
        )
        values = {"run_name": "x"} | ({} if round_number is None else {"round": round_number})
        command = ["launch", "--executor_input", json.dumps({"inputs": {"parameterValues": values}}), "--"]
        patch = json.dumps({"containers": [{"name": "main", "command": command}]})
        self.nodes[f"wf-{number}"] = {
            "type": "Pod",
            "templateName": "system-container-impl",
            "name": f"wf(0).{place}.{task}(0).executor(0)",
            "phase": phase,
            "startedAt": f"2026-11-23T19:00:{number:02d}Z",
            "inputs": {"parameters": [{"name": "pod-spec-patch", "value": patch}]},
        }
        if log:
            self.logs[f"wf-{number}"] = LAUNCHER + log + ENDING
        return f"wf-{number}"

    @property
    def workflow(self) -> dict[str, Any]:
        status: dict[str, Any] = {"nodes": self.nodes}
        if self.packs_nodes:
            packed = base64.b64encode(gzip.compress(json.dumps(self.nodes).encode())).decode()
            status = {"compressedNodes": packed}
        return {"metadata": {"name": "wf", "namespace": "kubeflow"}, "status": status}


@contextmanager
def serve(kfp: FakeKfp) -> Iterator[FakeKfp]:
    """Serves the fake on a free local port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(kfp))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    kfp.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield kfp
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(kfp: FakeKfp) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET", b"")

        def do_POST(self) -> None:
            self._answer("POST", self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def _answer(self, method: str, body: bytes) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            kfp.requests.append((method, unquote(parts.path)))
            kfp.tokens.add(self.headers.get("Authorization"))
            status, kind, data = _route(kfp, method, unquote(parts.path), query, body)
            payload = data if isinstance(data, bytes) else json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            """Prints nothing."""

    return Handler


def _route(kfp: FakeKfp, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, str, Any]:
    if kfp.answers_with_a_page:
        return 200, "text/html", b"<!DOCTYPE html>Welcome"
    for verb, pattern, function in _ROUTES:
        match = re.fullmatch(pattern, path)
        if match and verb == method:
            answer = function(kfp, query, body, *match.groups())
            return answer if isinstance(answer, tuple) else (200, "application/json", answer)
    return 404, "text/html; charset=utf-8", b"<!DOCTYPE html>Cannot GET"


def _missing(name: str) -> tuple[int, str, Any]:
    return 404, "application/json", {"code": 5, "message": f"{name} not found", "details": []}


def _page(kfp: FakeKfp, query: dict[str, str], field: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    for predicate in json.loads(query.get("filter", "{}")).get("predicates", []):
        key = {"name": "display_name"}.get(predicate["key"], predicate["key"])
        values = predicate.get("string_values", {}).get("values", [predicate.get("string_value")])
        rows = [row for row in rows if row[key] in values]
    if query.get("sort_by") == "created_at desc":
        rows = rows[::-1]
    start = int(query.get("page_token", "0"))
    end = start + kfp.page_size
    page: dict[str, Any] = {field: rows[start:end]} if rows[start:end] else {}
    return page | ({"next_page_token": str(end)} if rows[end:] else {})


def _find_pipeline(kfp: FakeKfp, query: dict[str, str], body: bytes, name: str) -> Any:
    return next((pipeline for pipeline in kfp.pipelines if pipeline["name"] == name), None) or _missing(name)


def _make_pipeline(kfp: FakeKfp, query: dict[str, str], body: bytes) -> Any:
    made = json.loads(body) | {"pipeline_id": f"pipeline-{len(kfp.pipelines)}"}
    kfp.pipelines.append(made)
    return made


def _versions(kfp: FakeKfp, query: dict[str, str], body: bytes, pipeline: str) -> Any:
    rows = [version for version in kfp.versions if version["pipeline_id"] == pipeline]
    return _page(kfp, query, "pipeline_versions", rows)


def _upload(kfp: FakeKfp, query: dict[str, str], body: bytes) -> Any:
    if any(version["display_name"] == query["name"] for version in kfp.versions):
        return 409, "application/json", {"error_message": "the version exists"}
    boundary = body.partition(b"\r\n")[0]
    kfp.packages.append(body.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n" + boundary + b"--\r\n"))
    made = {
        "display_name": query["name"],
        "description": query.get("description", ""),
        "pipeline_id": query["pipelineid"],
        "pipeline_version_id": f"version-{len(kfp.versions)}",
    }
    kfp.versions.append(made)
    return made


def _runs(kfp: FakeKfp, query: dict[str, str], body: bytes) -> Any:
    return _page(kfp, query, "runs", kfp.runs)


def _make_run(kfp: FakeKfp, query: dict[str, str], body: bytes) -> Any:
    request = json.loads(body)
    kfp.add_run(request["display_name"], "PENDING")
    # A new run has no state yet.
    kfp.runs[-1].update(request)
    return {key: value for key, value in kfp.runs[-1].items() if key != "state"}


def _run(kfp: FakeKfp, query: dict[str, str], body: bytes, run_id: str) -> Any:
    return next((run for run in kfp.runs if run["run_id"] == run_id), None) or _missing(run_id)


def _terminate(kfp: FakeKfp, query: dict[str, str], body: bytes, run_id: str) -> Any:
    run = _run(kfp, query, body, run_id)
    if run_id in kfp.lost_workflows:
        run["state"] = "CANCELING"
        message = 'Failed to terminate a run: workflows.argoproj.io "wf" not found'
        return 500, "application/json", {"code": 13, "message": message}
    run["state"] = "CANCELING" if kfp.stubborn else "CANCELED"
    return {}


def _archive(kfp: FakeKfp, query: dict[str, str], body: bytes, run_id: str) -> Any:
    _run(kfp, query, body, run_id)["storage_state"] = "ARCHIVED"
    return {}


def _experiments(kfp: FakeKfp, query: dict[str, str], body: bytes) -> Any:
    return _page(kfp, query, "experiments", kfp.experiments)


def _make_experiment(kfp: FakeKfp, query: dict[str, str], body: bytes) -> Any:
    kfp.experiments.append(json.loads(body) | {"experiment_id": f"experiment-{len(kfp.experiments)}"})
    return kfp.experiments[-1]


def _workflow(kfp: FakeKfp, query: dict[str, str], body: bytes, run_id: str) -> Any:
    manifest = json.dumps(kfp.workflow) if kfp.nodes else ""
    return {"run": {"id": run_id}, "pipeline_runtime": {"workflow_manifest": manifest}}


def _log(kfp: FakeKfp, query: dict[str, str], body: bytes, run_id: str, node: str) -> Any:
    if kfp.is_web_server:
        return 404, "text/html; charset=utf-8", b"<!DOCTYPE html>Cannot GET"
    finished = kfp.nodes.get(node, {}).get("phase") in ("Succeeded", "Failed")
    if node in kfp.logs and finished and not kfp.packs_nodes:
        return 200, "text/plain", kfp.logs[node].encode()
    # KFP sends this error with the status of a success.
    return 200, "text/plain", {"error_message": f"BadRequestError: Failed to read {node}: and so on"}


def _web_log(kfp: FakeKfp, query: dict[str, str], body: bytes) -> Any:
    node = query["podname"].replace("-system-container-impl", "")
    if not kfp.is_web_server or node not in kfp.logs:
        return 404, "text/html; charset=utf-8", b"pod not found"
    return 200, "text/plain", kfp.logs[node].encode()


_V2 = "/apis/v2beta1"
_ROUTES = (
    ("GET", f"{_V2}/pipelines/names/(.+)", _find_pipeline),
    ("POST", f"{_V2}/pipelines", _make_pipeline),
    ("GET", f"{_V2}/pipelines/([^/]+)/versions", _versions),
    ("POST", f"{_V2}/pipelines/upload_version", _upload),
    ("GET", f"{_V2}/runs", _runs),
    ("POST", f"{_V2}/runs", _make_run),
    ("GET", f"{_V2}/runs/([^/:]+)", _run),
    ("POST", f"{_V2}/runs/([^/]+):terminate", _terminate),
    ("POST", f"{_V2}/runs/([^/]+):archive", _archive),
    ("GET", f"{_V2}/experiments", _experiments),
    ("POST", f"{_V2}/experiments", _make_experiment),
    ("GET", "/apis/v1beta1/runs/([^/]+)", _workflow),
    ("GET", "/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", _log),
    ("GET", "/k8s/pod/logs", _web_log),
)
