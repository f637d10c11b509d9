"""The tests' view of a deployment on the cluster of kubectl's current context."""

import base64
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import urllib3
from minio import Minio

ROOT = Path(__file__).parents[2]


def command(
    *arguments: object,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Runs a command in the repository; a failure shows its output."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        input=stdin,
        env={**os.environ, **(environment or {})},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if check:
        assert done.returncode == 0, f"{arguments}:\n{done.stdout}\n{done.stderr}"
    return done


def kubectl(*arguments: object, stdin: str | None = None, check: bool = True) -> str:
    """Runs kubectl and returns its output."""
    return command("kubectl", *arguments, stdin=stdin, check=check).stdout


def kubectl_json(*arguments: object) -> Any:
    """Runs kubectl and returns its output, read as JSON."""
    return json.loads(kubectl(*arguments, "-o", "json"))


@dataclass(frozen=True)
class Deployment:
    """A deployment and its addresses on this machine.

    Attributes:
        namespace: The namespace that the deployment is named by.
        s3: The S3 server's address.
        front_door: The address that sites reach, on this machine.
        mlflow: MLflow's address.
        kfp: the address of KFP's API, or None if KFP is not installed.
        values: The Helm values file it was deployed with.
    """

    namespace: str
    s3: str
    front_door: str
    mlflow: str
    values: Path
    kfp: str | None = None
    kfp_namespace: str = "kubeflow"
    options: tuple[str, ...] = field(default=())

    def client_namespace(self, client: str) -> str:
        return f"{self.namespace}-client-{client}"

    @property
    def virtual_namespace(self) -> str:
        return f"{self.namespace}-virtual"

    def secret(self, namespace: str, name: str) -> dict[str, str]:
        data = kubectl_json("-n", namespace, "get", "secret", name)["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def credentials(self, client: str | None = None) -> dict[str, str]:
        """Returns the S3 credentials of a client, or of the federation."""
        if client:
            return self.secret(self.client_namespace(client), "fedvsr-client")
        return self.secret(self.namespace, "fedvsr-federation")

    def client_bucket(self, client: str) -> str:
        return f"{self.namespace}-client-{client}"

    def environment(self, client: str | None = None) -> dict[str, str]:
        """Returns the variables that `make ui` prints, with the credentials of a client or the federation."""
        return {
            "FEDVSR_FEDERATION_STORE": f"s3://{self.namespace}",
            "FEDVSR_CLIENT_STORE": f"s3://{self.namespace}-client-{{client}}",
            "FEDVSR_S3_ENDPOINT": self.s3,
            "FEDVSR_S3_CA": self.ca_certificate,
            "FEDVSR_NAMESPACE": self.namespace,
            "MLFLOW_TRACKING_URI": self.mlflow,
            **({"FEDVSR_KFP_ENDPOINT": self.kfp} if self.kfp else {}),
            **self.credentials(client),
        }

    def fedvsr(
        self, *arguments: object, client: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs a fedvsr command against the deployment."""
        program = Path(sys.executable).with_name("fedvsr")
        return command(program, *arguments, environment=self.environment(client), check=check)

    def bucket(self, client: str | None = None) -> Minio:
        """Connects to the S3 server as a client, or as the federation."""
        keys = self.credentials(client)
        return Minio(
            endpoint=self.s3.removeprefix("https://"),
            access_key=keys["AWS_ACCESS_KEY_ID"],
            secret_key=keys["AWS_SECRET_ACCESS_KEY"],
            region="us-east-1",
            http_client=self.connections(),
        )

    @cached_property
    def ca_certificate(self) -> str:
        """The authority of the S3 server's certificate, as PEM text."""
        return self.settings()["FEDVSR_S3_CA"]

    def connections(self) -> urllib3.PoolManager:
        """Returns connections that trust the S3 server's authority and no other."""
        context = ssl.create_default_context(cadata=self.ca_certificate)
        return urllib3.PoolManager(ssl_context=context, retries=False, timeout=10)

    def read(self, key: str) -> bytes:
        """Returns an object of the federation's bucket."""
        answer = self.bucket().get_object(bucket_name=self.namespace, object_name=key)
        try:
            return bytes(answer.read())
        finally:
            answer.close()
            answer.release_conn()

    def record(self, key: str) -> Any:
        return json.loads(self.read(key))

    def settings(self) -> dict[str, str]:
        """Returns the ConfigMap with the settings of steps and users."""
        data: dict[str, str] = kubectl_json("-n", self.namespace, "get", "configmap", "fedvsr")["data"]
        return data
