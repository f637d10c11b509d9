"""Kubeflow Pipelines from outside: uploading the pipeline, submitting runs, looking at them.

It speaks KFP's REST API and needs no part of KFP's SDK.
"""
