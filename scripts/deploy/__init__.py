"""Brings fedvsr into a cluster and out of it: what `make images|deploy|undeploy|ui` run.

It needs Python's standard library, and the programs that a platform engineer has: a container tool,
kubectl and helm.
"""
