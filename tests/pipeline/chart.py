"""Values that the tests render the charts with, and a search in the rendered objects."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "fedvsr"
SITE_CHART = ROOT / "charts" / "fedvsr-site"

# Values that the chart otherwise generates. They make every rendering the same.
GENERATED_VALUES = {
    "images": {"tag": "1.2.3"},
    "s3": {"rootPassword": "root-password", "userSeed": "seed-of-the-users"},
    "postgres": {"password": "postgres-password"},
}
TWO_CLIENTS = {**yaml.safe_load((ROOT / "samples" / "cluster.yaml").read_text())}
EXTERNAL = {
    "kfp": {"enabled": False},
    "s3": {
        "external": {"endpoint": "https://s3.example.org", "cidrs": ["203.0.113.7/32"]},
        "existingSecret": "s3-root",
        "userSeed": "seed-of-the-users",
        "buckets": {"federation": "video-fed", "mlflow": "video-mlflow", "clientPrefix": "video-"},
    },
    "postgres": {"external": {"enabled": True, "cidrs": ["203.0.113.8/32"]}, "existingSecret": "database"},
    "mlflow": {"publicUrl": "https://mlflow.example.org", "env": {"MLFLOW_LOGGING_LEVEL": "DEBUG"}},
    "clients": [{"name": "site-a"}],
}
GPU_CLIENT = {
    "clients": [
        {
            "name": "site-a",
            "namespace": "hospital",
            "image": "registry.example.org/fedvsr-trainer:cuda",
            "imagePullPolicy": "Always",
            "gpuResource": "nvidia.com/mig-3g.40gb",
            "runtimeClassName": "nvidia",
            "nodeSelector": {"gpu": "a100"},
            "tolerations": [
                {
                    "key": "gpu",
                    "operator": "Equal",
                    "value": "a",
                    "effect": "NoExecute",
                    "tolerationSeconds": 60,
                }
            ],
            "resources": {"requests": {"cpu": 8, "memory": "64Gi"}, "limits": {"memory": "96Gi"}},
            "cacheSize": "200Gi",
            "allowModels": ["acme", "radiology.models"],
            "namespaceLabels": {"owner": "radiology"},
            "quota": {"requests.nvidia.com/mig-3g.40gb": "2"},
        }
    ],
}
# Virtual clients beside a hosted one.
VIRTUAL_CLIENTS = {
    "clients": [{"name": "site-a"}],
    "virtualClients": {
        "enabled": True,
        "parallelism": 8,
        "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        "quota": {"pods": "12"},
    },
}
# The S3 server itself speaks TLS: with the certificate that the cluster trusts, and one for sites.
FRONT_DOOR = {
    "s3": {
        "federationQuota": "50Gi",
        "frontDoor": {
            "mode": "direct",
            "host": "fed.example.org",
            "allowFrom": ["203.0.113.0/24"],
            "direct": {
                "existingSecret": "fed-example-org",
                "certificate": {
                    "ca": "-----BEGIN CERTIFICATE-----\nauthority\n-----END CERTIFICATE-----\n",
                    "certificate": "-----BEGIN CERTIFICATE-----\nserver\n-----END CERTIFICATE-----\n",
                    "key": "-----BEGIN PRIVATE KEY-----\nkey\n-----END PRIVATE KEY-----\n",
                },
                "service": {
                    "externalTrafficPolicy": "Local",
                    "annotations": {"service.example.org/subnet": "public"},
                },
            },
        },
    },
    "clients": [{"name": "site-a"}],
}


def merged(base, changes):
    """Returns nested values with changes applied."""
    result = dict(base)
    for key, value in changes.items():
        is_nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if is_nested else value
    return result


def get_object(objects, kind, name, namespace):
    """Returns the one object of a kind, name and namespace."""
    (match,) = (
        candidate
        for candidate in objects
        if candidate["kind"] == kind
        and candidate["metadata"]["name"] == name
        and candidate["metadata"].get("namespace") == namespace
    )
    return match
