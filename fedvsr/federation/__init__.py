"""The federation's steps, by who acts.

`run` begins a run and goes through its rounds, `client` trains, `server` aggregates and evaluates, and
`owner` turns videos into shards: a client its own, the federation the held-out ones. What they share is
here: the keys and records of the stores, the runs in them, and what clients delivered.
"""
