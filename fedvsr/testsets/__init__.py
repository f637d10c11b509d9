"""The test sets that papers report, one per file, their registry, and the scoring of models on them."""
