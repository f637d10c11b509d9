import pytest

from fedvsr.kubeflow.connection import KfpConnection
from tests.unit.kubeflow.fake_kfp import FakeKfp, serve


@pytest.fixture
def kfp(monkeypatch):
    """A fake KFP that has only the pipeline with its first version."""
    for name in ("FEDVSR_KFP_ENDPOINT", "FEDVSR_KFP_TOKEN", "FEDVSR_KFP_UI", "FEDVSR_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    with serve(FakeKfp()) as server:
        server.pipelines.append({"name": "federated-training", "pipeline_id": "pipeline-0"})
        server.versions.append(
            {
                "display_name": "0.1.0-first",
                "pipeline_id": "pipeline-0",
                "pipeline_version_id": "version-0",
            }
        )
        yield server


@pytest.fixture
def connection(kfp):
    return KfpConnection(kfp.url)
