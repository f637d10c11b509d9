"""The client: local training, from a plan and global weights to an update and a report."""
