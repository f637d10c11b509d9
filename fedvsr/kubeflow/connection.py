"""The connection to the REST API of Kubeflow Pipelines, and its errors."""

import json
import os
from collections.abc import Iterator, Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen
from uuid import uuid4

from fedvsr.errors import InputError, PipelinesError

ENDPOINT_VARIABLE = "FEDVSR_KFP_ENDPOINT"
TOKEN_VARIABLE = "FEDVSR_KFP_TOKEN"  # noqa: S105  the variable's name
UI_VARIABLE = "FEDVSR_KFP_UI"
# `make ui` forwards KFP's web server to this address; the server forwards requests to the API.
DEFAULT_ENDPOINT = "http://localhost:8080"

_API = "/apis/v2beta1"
_API_V1 = "/apis/v1beta1"
_TIMEOUT = 30.0
_PAGE = 100


class KfpConnection:
    """A connection to the REST API of a Kubeflow Pipelines installation.

    Args:
        endpoint: Address of the API or of KFP's web server; if empty, FEDVSR_KFP_ENDPOINT or localhost:8080.

    Raises:
        fedvsr.errors.InputError: The endpoint is not an HTTP address.
    """

    def __init__(self, endpoint: str = "") -> None:
        self.endpoint = (endpoint or os.environ.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT).rstrip("/")
        if not self.endpoint.startswith(("http://", "https://")):
            raise InputError(
                f"the KFP endpoint {self.endpoint!r} must begin with http:// or https://; set it with "
                f"--endpoint or {ENDPOINT_VARIABLE}"
            )
        # The web server's address, for links that a browser opens.
        self.ui = os.environ.get(UI_VARIABLE, DEFAULT_ENDPOINT).rstrip("/")
        token = os.environ.get(TOKEN_VARIABLE)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **query: Any) -> Any:
        """Returns the JSON at a path of the API."""
        return self._json(self._request("GET", f"{_API}{path}", query))

    def get_v1(self, path: str) -> Any:
        """Returns the JSON at a path of the older API; only this API has a run's workflow."""
        return self._json(self._request("GET", f"{_API_V1}{path}", {}))

    def find(self, path: str, **query: Any) -> Any | None:
        """Returns the JSON at a path of the API, or None if it does not exist."""
        try:
            return self.get(path, **query)
        except _NotFoundError:
            return None

    def pages(self, path: str, field: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yields the entries of a paged list; requests the next page only if the caller reads that far."""
        token = ""
        while True:
            page = self.get(path, page_size=_PAGE, page_token=token, **query)
            yield from page.get(field, [])
            token = page.get("next_page_token", "")
            if not token:
                return

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Sends JSON and returns the answer."""
        data = json.dumps(body).encode()
        request = self._request("POST", f"{_API}{path}", {}, data, "application/json")
        return self._json(request)

    def upload(self, path: str, package: bytes, **query: Any) -> Any:
        """Sends a compiled pipeline as a form upload and returns the answer."""
        boundary = uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="uploadfile"; filename="pipeline.yaml"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = head.encode() + package + f"\r\n--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        return self._json(self._request("POST", f"{_API}{path}", query, body, kind))

    def find_text(self, path: str) -> str | None:
        """Returns the plain text at a path of the server, or None if the path does not exist."""
        try:
            kind, body = self._send(self._request("GET", path, {}))
        except _NotFoundError:
            return None
        # For an unknown path, the web server sends its start page.
        return None if kind == "text/html" else body.decode("utf-8", "replace")

    def find_pod_log(self, pod: str, namespace: str, run_id: str) -> str | None:
        """Returns a pod's log from KFP's web server, or None if the server does not have the log."""
        query = {"podname": pod, "podnamespace": namespace, "runid": run_id}
        for server in dict.fromkeys((self.endpoint, self.ui)):
            try:
                kind, body = self._send(self._request("GET", "/k8s/pod/logs", query, server=server))
            except PipelinesError:
                continue
            if kind != "text/html":
                return body.decode("utf-8", "replace")
        return None

    def run_url(self, run_id: str) -> str:
        """Returns a run's address in the UI."""
        return f"{self.ui}/#/runs/details/{run_id}"

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        data: bytes | None = None,
        kind: str = "",
        server: str = "",
    ) -> Request:
        parameters = urlencode({key: value for key, value in query.items() if value not in ("", None)})
        headers = {"Content-Type": kind} if kind else {}
        if not server or server == self.endpoint:
            headers.update(self._headers)
        url = f"{server or self.endpoint}{path}{'?' if parameters else ''}{parameters}"
        return Request(url, data, headers, method=method)  # noqa: S310  http or https: see __init__

    def _json(self, request: Request) -> Any:
        _, body = self._send(request)
        try:
            return json.loads(body)
        except ValueError:
            raise PipelinesError(
                f"{request.full_url} did not answer with JSON; is KFP's API at {self.endpoint}? "
                f"Set its address with --endpoint or {ENDPOINT_VARIABLE}"
            ) from None

    def _send(self, request: Request) -> tuple[str, bytes]:
        try:
            answer: HTTPResponse
            with urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310  http or https: see __init__
                return answer.headers.get_content_type(), answer.read()
        except HTTPError as error:
            kind = _NotFoundError if error.code == 404 else PipelinesError
            raise kind(
                f"KFP at {self.endpoint} refused {request.get_method()} {request.selector}: {_reason(error)}"
                + (f"; set {TOKEN_VARIABLE} to a bearer token" if error.code in (401, 403) else "")
            ) from None
        except (URLError, HTTPException, OSError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise UnreachableError(
                f"KFP at {self.endpoint} does not answer ({reason}); run `make ui` and leave it open, or "
                f"set another address with --endpoint or {ENDPOINT_VARIABLE}"
            ) from None


class UnreachableError(PipelinesError):
    """KFP does not answer. This may be temporary."""


class _NotFoundError(PipelinesError):
    """KFP has no object of that name, or the server has no such path."""


def _reason(error: HTTPError) -> str:
    """Returns KFP's message without its details, which repeat the same error at every level."""
    body = error.read().decode("utf-8", "replace")
    try:
        answer = json.loads(body)
        return f"{answer.get('message') or answer['error_message']} (HTTP {error.code})"
    except (ValueError, KeyError, AttributeError):
        return f"HTTP {error.code} {error.reason}"
