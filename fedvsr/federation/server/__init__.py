"""The server's side: aggregates a round's updates and evaluates the resulting weights."""
