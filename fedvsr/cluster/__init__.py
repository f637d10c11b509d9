"""Clients' work as Kubernetes Jobs: the only package that imports kubernetes.

A `ClientJob` (`client_job`) is one client's Job: its specification (`job_spec`), its observed state, and its
phase. `job_follower` follows several Jobs to their `verdict`; it gets events from `watcher` (changes on the
cluster) and `log_follower` (lines that pods print). `runner` trains a round's clients with it, `sharding`
makes their shards, and `client_check` checks that clients are ready. Each hosted client has a namespace of
its own. Virtual clients share one: an `IndexedJob` (`indexed_job`, `indexed_job_spec`) has a `ClientJob` for
each of its indexes, and `indexed_follower` follows it for `virtual_runner` and `virtual_shards`. `api` calls
Kubernetes, `states` parses its answers, and `settings` and `deployment` read the deployment's clients.
"""
