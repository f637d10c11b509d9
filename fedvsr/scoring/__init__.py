"""Scoring upscaled frames against ground truth, for rounds, test sets and promotion."""
