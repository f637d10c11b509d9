"""A whole experiment: videos in; report, registered model and upscaled clip out."""
