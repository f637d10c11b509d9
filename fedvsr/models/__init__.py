"""Super-resolution networks, one architecture per file, and the registry that finds them by name.

`fedvsr.models.base` describes what a model is and how to add one.
"""

from fedvsr.models.base import Contexts, contexts
from fedvsr.models.registry import ModelInfo, build_model, model_info, model_names

__all__ = ["Contexts", "ModelInfo", "build_model", "contexts", "model_info", "model_names"]
