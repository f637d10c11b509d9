"""A run: its start, its rounds, and how the clients of a round are run."""
