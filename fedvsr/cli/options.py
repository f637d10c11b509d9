"""Options that several commands share."""

import click

from fedvsr.kubeflow.pipeline import DEFAULT_NAMESPACE

store_option = click.option(
    "--store",
    default="runs",
    show_default=True,
    envvar="FEDVSR_STORE",
    help="The root folder of the stores, or s3://BUCKET/PREFIX, like `store` in CONFIG. If "
    "FEDVSR_FEDERATION_STORE and FEDVSR_CLIENT_STORE are both set, they name the stores instead. "
    "[env: FEDVSR_STORE]",
)

namespace_option = click.option(
    "--namespace",
    default=DEFAULT_NAMESPACE,
    show_default=True,
    envvar="FEDVSR_NAMESPACE",
    help="The deployment's namespace on the cluster. [env: FEDVSR_NAMESPACE]",
)

tracking_option = click.option(
    "--tracking-uri",
    default="",
    help="The address of MLflow. [default: MLFLOW_TRACKING_URI, or else SQLite in the store's root folder]",
)

registered_model_option = click.option(
    "--name", "registered_model", default="fedvsr", show_default=True, help="The registered model's name."
)

endpoint_option = click.option(
    "--endpoint",
    default="",
    metavar="URL",
    help="Address of KFP's web server or API. [default: http://localhost:8080, where `make ui` forwards it] "
    "[env: FEDVSR_KFP_ENDPOINT]",
)
