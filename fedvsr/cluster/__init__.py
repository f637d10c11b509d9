"""Clients' work as Kubernetes Jobs, each in its client's namespace: the only package that imports kubernetes.

`settings` says where each client is, `job` what its Job looks like, `api` asks Kubernetes, `states` is what
of its answers matters, `watching` and `logs` keep up with what happens, `following` waits until all Jobs
have ended, `outcome` says what became of each, and `runner` and `sharding` put them together.
"""
