"""How low-resolution frames are made from ground truth: one degradation per file, and a registry."""
