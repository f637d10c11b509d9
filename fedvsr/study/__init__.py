"""Studies: matrices of runs, whose results are compared by seed."""
