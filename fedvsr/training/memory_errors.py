"""One clear error if the memory does not suffice for a step."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fedvsr.errors import TrainingError


@contextmanager
def clear_memory_errors(who: str, device: torch.device) -> Iterator[None]:
    """Replaces PyTorch's errors about missing memory in the block.

    Args:
        who: Whose memory it is, to begin the message with.
        device: The device of the training.

    Raises:
        fedvsr.errors.TrainingError: The memory of the device or of this machine ran out.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _error(who, device, error) from error
    except RuntimeError as error:
        # On a CPU there is no class for it.
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise _error(who, torch.device("cpu"), error) from error


def _error(who: str, device: torch.device, error: Exception) -> TrainingError:
    reason = str(error).strip().partition("\n")[0].partition(". ")[0]
    return TrainingError(
        f"{who}: the memory of {device} ran out ({reason or 'no memory is left'}); set training.accumulation "
        "or training.activation_checkpointing, or lower training.patch_size"
    )
