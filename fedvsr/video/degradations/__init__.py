"""How low-resolution frames are made from ground truth: one degradation a file, and a registry."""
