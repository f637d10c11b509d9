"""How a step of the pipeline ends if it fails."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fedvsr.errors import FedVSRError


@contextmanager
def sentence_on_error() -> Iterator[None]:
    """Context manager that ends the process with one sentence on standard error and the error's exit code.

    KFP's executor prints a traceback above the message of an exception, but not of SystemExit. An exception
    that is not a `fedvsr.errors.FedVSRError` is a defect, and keeps its traceback.
    """
    try:
        yield
    except FedVSRError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
