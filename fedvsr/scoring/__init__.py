"""Scores upscaled frames against the ground truth, for rounds, test sets and promotion."""
