"""Values that the chart is rendered with, and finding what it makes of them."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "fedvsr"

# What is generated in a cluster is given here, so that every rendering is the same.
GIVEN = {
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


def merged(base, more):
    both = dict(base)
    for key, value in more.items():
        inner = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = merged(both[key], value) if inner else value
    return both


def named(objects, kind, name, namespace):
    (found,) = (
        each
        for each in objects
        if each["kind"] == kind
        and each["metadata"]["name"] == name
        and each["metadata"].get("namespace") == namespace
    )
    return found
