"""MLflow: the record of runs, and the registry of models."""

import os

# MLflow reads it when it is imported, and would tell its makers of every use.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
