"""Client for Kubeflow Pipelines: uploads the pipeline, submits runs, lists them and reads their logs.

It uses KFP's REST API and does not import KFP's SDK.
"""
