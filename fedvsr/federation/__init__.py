"""Federated training, one package for each role.

`run` starts a run and drives its rounds, `client` trains, `server` aggregates and evaluates, and `owner`
makes shards from videos: each client from its own, the federation from the held-out videos. The modules in
this folder are shared: the stores' keys and records, the runs in them, and the clients' deliveries.
"""
