"""MLflow: tracks runs and registers models."""

import os

# Turns off MLflow's telemetry. MLflow reads the variable when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# MLflow logs a long warning if Git is not installed, which it does not need.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# MLflow would print addresses that only work inside the cluster.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
