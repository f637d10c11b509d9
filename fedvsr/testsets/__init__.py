"""The test sets that papers report, one per file, their registry, and scoring a model on them."""
