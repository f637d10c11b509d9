"""A run: its start, its rounds, and the runner of a round's clients."""
