"""The registered model's code, which MLflow keeps beside the weights and runs to serve it.

The input is a clip of RGB frames, uint8 (T, h, w, 3); the output is uint8 (T, s·h, s·w, 3).
"""

import warnings
from pathlib import Path

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from fedvsr.trained import load_trained

with warnings.catch_warnings():
    # MLflow wants annotations of predict that it can take for a schema; the signature is the schema.
    warnings.simplefilter("ignore", UserWarning)

    class VideoSuperResolution(PythonModel):
        """Upscales clips with a trained model."""

        def load_context(self, context: PythonModelContext) -> None:
            self.model = load_trained(Path(context.artifacts["model"]))

        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return self.model.upscale(np.asarray(model_input, dtype=np.uint8))


set_model(VideoSuperResolution())
