"""Where compiled kernels are kept, so that a client compiles its model once and not in every round."""

import os
from pathlib import Path
from typing import Final

_CACHE_VARIABLE: Final = "FEDVSR_CACHE"
_FOLDERS: Final = {
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "CUDA_CACHE_PATH": "cuda",
}


def keep_kernels() -> None:
    """Makes PyTorch, Triton and CUDA keep what they compile under ``FEDVSR_CACHE``, if that is set.

    The variables are read when the first kernel is compiled. One that is set already stays.
    """
    cache = os.environ.get(_CACHE_VARIABLE)
    if cache:
        for variable, folder in _FOLDERS.items():
            os.environ.setdefault(variable, str(Path(cache) / "compile" / folder))
