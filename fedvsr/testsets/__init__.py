"""The test sets that papers report: one a file, a registry, and how a model is scored on them."""
