"""Container images of the steps."""

import os

# fedvsr is in the image; nothing is installed when a step starts.
IMAGE = os.environ.get("FEDVSR_IMAGE", "localhost:5001/fedvsr:0.1.0")
# With PyTorch, for steps that build a network.
TRAINER_IMAGE = os.environ.get("FEDVSR_TRAINER_IMAGE", "localhost:5001/fedvsr-trainer:0.1.0")
