"""The steps of the pipeline, as containers run them. Each file has the name of its component.

A step calls `fedvsr.federation` and `fedvsr.tracking`. Environment variables name the stores and MLflow
(FEDVSR_FEDERATION_STORE, FEDVSR_CLIENT_STORE, MLFLOW_TRACKING_URI). A step returns numbers, and writes
Markdown and HTML files that the pipeline shows.

`shard`, `train_clients` and `aggregate` run in the small image, which has no PyTorch.
"""
