"""Super-resolution networks, one architecture a file, and the registry that finds them by name.

`fedvsr.models.base` says what a model is. A new one of ours is a file here and a line in
`fedvsr.models.registry`; one of somebody else's needs neither (an entry point or a
``package.module:callable`` reference does).
"""

from fedvsr.models.base import Contexts, contexts
from fedvsr.models.registry import ModelInfo, build_model, model_info, model_names

__all__ = ["Contexts", "ModelInfo", "build_model", "contexts", "model_info", "model_names"]
