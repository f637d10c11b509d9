"""The public parameters of one session, on which all its clients must agree before they send anything."""

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from fedvsr.config.run import Name
from fedvsr.privacy.secure_aggregation.canonical import MAX_CLIENTS, MIN_CLIENTS, CanonicalRecord, Digest

MIN_BITS: Final = 8
MAX_BITS: Final = 32
MAX_LENGTH: Final = 1 << 31


def min_threshold(clients: int) -> int:
    """Returns the least threshold for a number of clients: more than half of them.

    A server that shows half of the clients one list of survivors and the other half another would get shares
    of both secrets of one client, and open its update. With more than half, the two sets of clients that
    answer have one in common, and no honest client answers twice.
    """
    return clients // 2 + 1


def modulus_bits(max_value: int, clients: int) -> int:
    """Returns the least k so that the sum of all clients' values is below 2^k, at least `MIN_BITS`.

    Args:
        max_value: The largest value of one element of one client.
        clients: The number of clients.
    """
    return max(MIN_BITS, (max_value * clients).bit_length())


class Session(CanonicalRecord):
    """The public parameters of one session. The server publishes them first.

    Every message is bound to the digest of these parameters, so clients that were shown different parameters
    refuse each other's messages.

    Attributes:
        run: The run's name.
        round: The round, counted from 1.
        identifier: Differs between any two sessions of a run, also when a round is repeated.
        clients: The names of the clients, sorted, 3 to 100.
        threshold: How many clients must stay to the end; more than half, see `min_threshold`.
        bits: k: the sum is modulo 2^k, 8 to 32.
        length: Number of elements of each client's vector.
        agreement: The SHA-256 of what else the clients must agree on: the aggregation weights, the scales of
            the quantiser and the base weights. A server that showed one client other weights than the rest
            could make the sum that client's update alone.

    Raises:
        pydantic.ValidationError: A parameter is out of its range.
        fedvsr.errors.RecordError: From `from_bytes`: the same.
    """

    what: ClassVar[str] = "a session's parameters"
    client_bytes: ClassVar[int] = 64

    version: Literal[1] = 1
    run: Name
    round: Annotated[int, Field(ge=1, le=2**31)]
    identifier: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")]
    clients: Annotated[tuple[Name, ...], Field(min_length=MIN_CLIENTS, max_length=MAX_CLIENTS)]
    threshold: int
    bits: Annotated[int, Field(ge=MIN_BITS, le=MAX_BITS)]
    length: Annotated[int, Field(ge=1, le=MAX_LENGTH)]
    agreement: Digest

    @model_validator(mode="after")
    def _check(self) -> Self:
        if list(self.clients) != sorted(set(self.clients)):
            raise ValueError("the clients' names are not sorted, or one is there twice")
        least, most = min_threshold(len(self.clients)), len(self.clients)
        if not least <= self.threshold <= most:
            raise ValueError(
                f"the threshold is {self.threshold}, for {most} clients it is {least} to {most}: "
                "with half of them or fewer, a server could open one update"
            )
        return self
