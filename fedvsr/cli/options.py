"""Options that several commands share."""

from typing import Any

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


class _Workers(click.ParamType[Any]):
    """A number of worker processes: 1 or more; None for ``auto``."""

    name = "workers"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value == "auto":
            return None
        try:
            workers = int(value)
        except ValueError:
            workers = 0
        if workers < 1:
            self.fail(f"{value!r} is not allowed; it must be 1 or more, or auto", param, ctx)
        return workers


workers_option = click.option(
    "--workers",
    type=_Workers(),
    default="1",
    show_default=True,
    help="How many clients of this machine train at once, each in a process of its own; auto: one per "
    "training.threads cores. There are fewer if the memory is too small. The weights are the same bytes for "
    "every number.",
)
