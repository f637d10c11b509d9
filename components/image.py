"""The container images that the steps run in."""

import os

# Pods have fedvsr in their image; nothing is installed when they start.
IMAGE = os.environ.get("FEDVSR_IMAGE", "localhost:5001/fedvsr:0.1.0")
# The same with PyTorch, for steps that build a network.
TRAINER_IMAGE = os.environ.get("FEDVSR_TRAINER_IMAGE", "localhost:5001/fedvsr-trainer:0.1.0")
