"""The environment of every step (the deployment's addresses and credentials), and its memory and GPUs."""

import os

from kfp import dsl, kubernetes
from kfp.dsl.pipeline_channel import PipelineChannel

from fedvsr.kubeflow.pipeline import DEFAULT_NAMESPACE

# The namespace of the deployment that the pipeline is compiled for.
NAMESPACE = os.environ.get("FEDVSR_NAMESPACE", DEFAULT_NAMESPACE)
# The chart creates both in KFP's namespace and names them after the deployment's namespace.
CONFIG_MAP = NAMESPACE
SECRET = f"{NAMESPACE}-federation"

# Keys of the ConfigMap and of the Secret that a step gets as environment variables.
ADDRESSES = (
    "FEDVSR_FEDERATION_STORE",
    "FEDVSR_CLIENT_STORE",
    "FEDVSR_S3_ENDPOINT",
    "FEDVSR_CLIENTS",
    "FEDVSR_MLFLOW_URL",
    "MLFLOW_TRACKING_URI",
    "AWS_REGION",
)
# The ConfigMap has the first only if the S3 server's certificate authority is private, and the second only if
# the deployment has virtual clients.
OPTIONAL_ADDRESSES = ("FEDVSR_S3_CA", "FEDVSR_VIRTUAL_CLIENTS")
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

# A quantity, or the pipeline parameter whose value is the quantity.
Quantity = str | PipelineChannel


def step(
    task: dsl.PipelineTask, name: str, *, memory: Quantity, gpus: Quantity | None = None
) -> dsl.PipelineTask:
    """Gives a task the deployment's environment, its resources and a name.

    Args:
        task: The task.
        name: The name in the UI.
        memory: The memory limit. The request is smaller, since only large videos come near the limit.
        gpus: Number of GPUs; None for a step that never needs one. A pipeline parameter must be a string,
            since KFP's driver silently ignores a number and then requests no GPU.

    Returns:
        The task.
    """
    kubernetes.use_config_map_as_env(task, CONFIG_MAP, {name: name for name in ADDRESSES})
    kubernetes.use_config_map_as_env(
        task, CONFIG_MAP, {name: name for name in OPTIONAL_ADDRESSES}, optional=True
    )
    kubernetes.use_secret_as_env(task, SECRET, {name: name for name in CREDENTIALS})
    # KFP labels its pods with the pipeline run's ID, which the run in MLflow records.
    kubernetes.use_field_path_as_env(task, "KFP_RUN_ID", "metadata.labels['pipeline/runid']")
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    if gpus is not None:
        task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)
    # The compiler passes a parameter into a loop for the tasks' inputs, but not for their resources.
    channels = [quantity for quantity in (memory, gpus) if isinstance(quantity, PipelineChannel)]
    task.register_pipeline_channels(channels)
    task.set_cpu_request("100m").set_memory_request("256Mi").set_memory_limit(memory)
    # A step's result depends on the object stores, which KFP's cache does not see.
    return task.set_caching_options(False).set_display_name(name)
