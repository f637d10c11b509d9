"""Clients' work as Kubernetes Jobs, one namespace per client: the only package that imports kubernetes.

A `ClientJob` (`client_job`) is one client's Job: its `job_spec`, what was observed of it, and its phase.
`job_follower` follows several of them to their `verdict`, fed by `watcher` (what changes on the cluster) and
`log_follower` (what pods print). `runner` trains a round's clients with it, `sharding` makes their shards,
and `client_check` checks that they are ready. `api` calls Kubernetes, `states` reads its answers, `settings`
and `deployment` know the deployment's clients.
"""
