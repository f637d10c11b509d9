"""What keeps a client's update from everyone else: secure aggregation and differential privacy."""
