"""Federated strategies, one per file, and the registry that finds them by name."""
