"""The server: aggregation of a round's updates, and evaluation of its weights."""
