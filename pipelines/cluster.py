"""What every step gets of the cluster: the deployment's addresses and credentials, and resources."""

import os

from kfp import dsl, kubernetes
from kfp.dsl.pipeline_channel import PipelineChannel

from fedvsr.kubeflow.pipeline import DEFAULT_NAMESPACE

# The namespace of the deployment that the pipeline is compiled for.
NAMESPACE = os.environ.get("FEDVSR_NAMESPACE", DEFAULT_NAMESPACE)
# The chart makes both in KFP's namespace and names them after the deployment's namespace.
CONFIG_MAP = NAMESPACE
SECRET = f"{NAMESPACE}-federation"

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


# A quantity, or the parameter of a run that it is taken from.
Quantity = str | PipelineChannel


def step(
    task: dsl.PipelineTask, name: str, *, memory: Quantity, gpus: Quantity | None = None
) -> dsl.PipelineTask:
    """Makes a task one of this deployment.

    Args:
        task: The task.
        name: What the UI calls it.
        memory: Its limit; a step asks for less, since it works near its limit on large videos only.
        gpus: How many GPUs it asks for. A parameter must be a string: KFP's driver takes the count of
            GPUs from no other kind, and asks for none without a word.
    """
    kubernetes.use_config_map_as_env(task, CONFIG_MAP, {name: name for name in ADDRESSES})
    kubernetes.use_secret_as_env(task, SECRET, {name: name for name in CREDENTIALS})
    # The label that KFP gives its pods; MLflow is told of it.
    kubernetes.use_field_path_as_env(task, "KFP_RUN_ID", "metadata.labels['pipeline/runid']")
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    if gpus is not None:
        task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)
    # The compiler hands a loop what its tasks' inputs need, and overlooks what their resources do.
    task.register_pipeline_channels([each for each in (memory, gpus) if isinstance(each, PipelineChannel)])
    task.set_cpu_request("100m").set_memory_request("256Mi").set_memory_limit(memory)
    # What a step does depends on what lies in the object stores, which KFP's cache knows nothing of.
    return task.set_caching_options(False).set_display_name(name)
