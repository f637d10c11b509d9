"""What every step gets of the cluster: the deployment's addresses and credentials, and resources."""

from kfp import dsl, kubernetes

# Made by the chart in the namespace where KFP runs its pods.
CONFIG_MAP = "fedvsr"
SECRET = "fedvsr-federation"  # noqa: S105  its name

ADDRESSES = (
    "FEDVSR_FEDERATION_STORE",
    "FEDVSR_CLIENT_STORE",
    "FEDVSR_S3_ENDPOINT",
    "FEDVSR_CLIENTS",
    "FEDVSR_MLFLOW_URL",
    "MLFLOW_TRACKING_URI",
    "AWS_REGION",
)
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def step(task: dsl.PipelineTask, name: str, *, memory: str) -> dsl.PipelineTask:
    """Makes a task one of this deployment.

    Args:
        task: The task.
        name: What the UI calls it.
        memory: Its limit; a step asks for less, since it works near its limit on large videos only.
    """
    kubernetes.use_config_map_as_env(task, CONFIG_MAP, {name: name for name in ADDRESSES})
    kubernetes.use_secret_as_env(task, SECRET, {name: name for name in CREDENTIALS})
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    task.set_cpu_request("100m").set_memory_request("256Mi").set_memory_limit(memory)
    # What a step does depends on what lies in the object stores, which KFP's cache knows nothing of.
    return task.set_caching_options(False).set_display_name(name)
