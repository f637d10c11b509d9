"""Client for Kubeflow Pipelines: uploads the pipeline, submits runs, lists them and reads their logs.

Uses KFP's REST API and no part of KFP's SDK.
"""
