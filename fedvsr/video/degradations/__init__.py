"""Degradations, which make low-resolution frames from ground truth: one per file, and a registry."""
