"""Installs fedvsr in a cluster and removes it: `make images`, `deploy`, `undeploy` and `ui`.

Needs only Python's standard library, a container tool, kubectl and helm.
"""
