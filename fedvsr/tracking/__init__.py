"""MLflow: the record of runs, and the registry of models."""

import os

# MLflow reads it when it is imported, and would tell its makers of every use.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# It looks for a Git, says much where there is none, and needs none.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# It would print addresses that only the cluster knows.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
