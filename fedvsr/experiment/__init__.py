"""Whole experiments, from videos to a report, a registered model and an upscaled clip."""
