"""The records of secure aggregation that are not messages of the protocol."""

from typing import Annotated, ClassVar

from pydantic import Field

from fedvsr.federation.records import Record, TrainingFacts

_MAX_TENSORS = 20_000
Maximum = Annotated[float, Field(ge=0, lt=1e38)]


class ClientKeyRecord(Record):
    """keys/<client>.json: a client's long-term public key, as the client wrote it."""

    what: ClassVar[str] = "client's public key"

    client: str
    public_key: str = Field(pattern=r"^[0-9a-f]{64}$", description="Ed25519, in hexadecimal")


class KnownKeysRecord(Record):
    """known-keys.json in a client's own store: the other clients' public keys, as it knows them."""

    what: ClassVar[str] = "list of known public keys"

    keys: dict[str, str] = Field(default_factory=dict, description="by client, in hexadecimal")


class TrainedRecord(TrainingFacts):
    """trained.json: what a client says before it masks its update. Nothing in it is masked."""

    maxima: Annotated[tuple[Maximum, ...], Field(max_length=_MAX_TENSORS)] = Field(
        description="the largest absolute value of each tensor's rotated differences"
    )


class AgreementRecord(Record):
    """agreement.json: what the server has made of the training records; all clients use the same one."""

    what: ClassVar[str] = "agreement of secure aggregation"

    base_digest: str = Field(description="SHA-256 of the weights that all clients started from")
    weights: dict[str, float] = Field(description="each client's share of the aggregate; they sum to 1")
    scales: tuple[float, ...] = Field(description="each tensor's distance between two levels, halved")
    diagnostics: dict[str, float] = Field(description="numbers that the strategy reports about the shares")
    weights_before_bound: dict[str, float] = Field(description="shares that robustness.max_share has cut")


class EndedRecord(Record):
    """ended.json: why the server has ended a round's secure aggregation without a sum."""

    what: ClassVar[str] = "end of secure aggregation"

    reason: str
