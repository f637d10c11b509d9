"""The container image that the steps run in."""

import os

# A pod of this image has fedvsr; nothing is installed when it starts.
IMAGE = os.environ.get("FEDVSR_IMAGE", "localhost:5001/fedvsr:0.1.0")
