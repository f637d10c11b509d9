"""The steps of the pipeline, as a container runs them: a file a step, named as its component is.

Each is one call into `fedvsr.federation` or `fedvsr.tracking`, with the stores and MLflow that the
environment names (FEDVSR_FEDERATION_STORE, FEDVSR_CLIENT_STORE, MLFLOW_TRACKING_URI) and with what a
person looks at written where the pipeline wants it: Markdown and HTML files, and numbers.

`shard`, `train_clients` and `aggregate` need no PyTorch: they run in the small image.
"""
