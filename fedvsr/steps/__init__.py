"""The steps of the pipeline, as containers run them. Each file has the name of its component.

A step calls `fedvsr.federation` and `fedvsr.tracking` with the stores and the MLflow that the environment
names (FEDVSR_FEDERATION_STORE, FEDVSR_CLIENT_STORE, MLFLOW_TRACKING_URI). It returns numbers, and writes
Markdown and HTML files that the pipeline shows.

`shard`, `train_clients` and `aggregate` need no PyTorch: they run in the small image.
"""
