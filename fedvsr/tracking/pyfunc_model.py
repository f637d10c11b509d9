"""The code that MLflow stores with a registered model and runs to serve it.

The input is a clip of RGB frames, uint8 (T, h, w, 3); the output is uint8 (T, s·h, s·w, 3).
"""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from fedvsr.trained import load_trained
from fedvsr.video.frames import Frames


class VideoSuperResolution(PythonModel):
    """Upscales clips with a trained model."""

    def load_context(self, context: PythonModelContext) -> None:
        self.model = load_trained(Path(context.artifacts["model"]))

    # MLflow warns if `predict` has an input without a type hint it knows.
    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> Frames:
        return self.model.upscale(np.asarray(model_input, dtype=np.uint8))


set_model(VideoSuperResolution())
