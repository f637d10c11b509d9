"""The run: its beginning, its rounds, and how the clients of a round are run."""
