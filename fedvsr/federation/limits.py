"""What a client may write: a digest names a file here, a number is added up and logged as a float."""

from typing import Annotated, Final

from pydantic import Field, StringConstraints

from fedvsr.store.base import DIGEST_PATTERN

Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
Count = Annotated[int, Field(ge=0, le=2**53)]
PositiveCount = Annotated[int, Field(ge=1, le=2**53)]
MOST_LOSS: Final = 1e12
Loss = Annotated[float, Field(ge=0, le=MOST_LOSS)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]

MOST_RECORD_BYTES: Final = 1 << 20
