"""The MLflow that the environment names."""

from fedvsr.config.experiment import TrackingConfig
from fedvsr.tracking.connection import Connection, connect


def environment_connection() -> Connection:
    """Connects to MLFLOW_TRACKING_URI; raises `fedvsr.errors.ConfigError` where it is not set."""
    return connect(TrackingConfig(), "s3://")
