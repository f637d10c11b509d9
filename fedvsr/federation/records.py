"""Every JSON record in the object stores: typed, versioned, validated on reading."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

from fedvsr.config.experiment import Experiment
from fedvsr.config.run import Name, RunConfig
from fedvsr.errors import RecordError
from fedvsr.scoring.clip_scores import ClipScores, mean_over_frames
from fedvsr.store.base import DIGEST_PATTERN, Store, bytes_digest
from fedvsr.text import printable

# What may differ when a run is continued, and so is no part of what the run is.
MAY_CHANGE: Final[Mapping[str, set[str] | bool]] = {"federation": {"rounds"}, "jobs": True}

# What a client may write: a digest names a file here, a number is added up and logged as a float.
MAX_RECORD_BYTES: Final = 1 << 20
MAX_LOSS: Final = 1e12
Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
Count = Annotated[int, Field(ge=0, le=2**53)]
PositiveCount = Annotated[int, Field(ge=1, le=2**53)]
Loss = Annotated[float, Field(ge=0, le=MAX_LOSS)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]


class Record(BaseModel):
    """A frozen JSON document with a version."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    what: ClassVar[str] = "record"

    version: Literal[1] = 1

    def to_bytes(self) -> bytes:
        """Returns the record as indented UTF-8 JSON: the same bytes for the same record."""
        return self.model_dump_json(indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, key: str) -> Self:
        """Validates a record's bytes.

        Raises:
            fedvsr.errors.RecordError: They are no JSON, or no such record of this version.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise RecordError(
                f"{key} is no {cls.what} of version 1: {printable(field) or 'document'}: {first['msg']}; "
                "it was written by another fedvsr or changed by hand"
            ) from None


AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_record(store: Store, key: str, record: type[AnyRecord]) -> AnyRecord:
    """Reads a record; raises NotFoundError or RecordError."""
    return record.from_bytes(store.read(key), f"{store.uri}/{key}")


def read_client_record(store: Store, key: str, record: type[AnyRecord]) -> AnyRecord:
    """Reads a record that a client wrote, unless it is too large to be one.

    Raises NotFoundError or RecordError.
    """
    size = store.size(key)
    if size > MAX_RECORD_BYTES:
        raise RecordError(
            f"{store.uri}/{key} is {size} bytes, a {record.what} has at most {MAX_RECORD_BYTES}"
        )
    return read_record(store, key, record)


def write_record(store: Store, key: str, record: Record) -> None:
    """Writes a record."""
    store.write(key, record.to_bytes())


class ClientRecord(Record):
    """clients/<name>.json: a client that takes part in the federation."""

    what: ClassVar[str] = "client record"

    name: Name


class ExperimentRecord(Record):
    """experiment.json: what `fedvsr run` was given, so that it can be resumed.

    Where its clients are on a cluster, namespace is that of their deployment.
    """

    what: ClassVar[str] = "experiment record"

    experiment: Experiment
    namespace: str = ""


class RunRecord(Record):
    """config.json: what a run is. Its digest of the initial weights makes it the run's identity."""

    what: ClassVar[str] = "run record"

    config: RunConfig
    initial_digest: str
    parameters: int = Field(description="number of trainable parameters")
    fedvsr_version: str

    @property
    def identity(self) -> str:
        """A digest of all that the weights depend on except the number of rounds, which may be raised."""
        settings = self.config.model_dump_json(exclude=MAY_CHANGE)
        return bytes_digest(f"{settings} {self.initial_digest}".encode())


class PlanRecord(Record):
    """plan.json: who trains in a round, from which weights, and for how long."""

    what: ClassVar[str] = "round plan"

    run: str
    round: int
    rounds: int
    clients: tuple[str, ...]
    base_digest: str
    strategy_digest: str | None = None
    quorum: int
    deadline_seconds: int


class ReportRecord(Record):
    """report.json: what a client says of its update. The update is whole once this is there."""

    what: ClassVar[str] = "client report"

    run: str
    round: Count
    client: str
    base_digest: Digest
    update_digest: Digest
    update_bytes: Count
    extra_digest: Digest | None = None
    extra_bytes: Count = 0
    downloaded_bytes: Count
    dataset_digest: Digest
    loss: Loss = Field(description="mean of the training loss over the local steps")
    clips: PositiveCount = Field(description="clips in the client's shards")
    steps: PositiveCount
    samples: PositiveCount = Field(description="patches trained on")
    seconds: Seconds = Field(description="wall time of the training alone")
    device: str


class Outcome(StrEnum):
    """What became of a client in a round."""

    OK = "ok"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    CUT_OFF = "cut-off"
    UNSCHEDULABLE = "unschedulable"
    REFUSED = "refused"


class ClientOutcome(BaseModel):
    """One client's outcome, with the reason: why it is not ok, or what went wrong before it was."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    client: str
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0


class OutcomesRecord(Record):
    """outcomes.json: what the train step saw become of each client."""

    what: ClassVar[str] = "outcomes record"

    run: str
    round: int
    outcomes: tuple[ClientOutcome, ...]
    seconds: float


class Participant(BaseModel):
    """A client whose update was aggregated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    client: str
    loss: float
    clips: int
    steps: int
    samples: int
    seconds: float
    weight: float | None = Field(description="its share of the aggregate; None where it has none")
    dataset_digest: str


class RoundRecord(Record):
    """round.json: how a round ended. The round is over once this is there."""

    what: ClassVar[str] = "round record"

    run: str
    round: int
    strategy: str
    base_digest: str
    global_digest: str
    strategy_digest: str | None = None
    participants: tuple[Participant, ...]
    outcomes: tuple[ClientOutcome, ...]
    diagnostics: dict[str, float] = Field(description="what the strategy says of its aggregation")
    bytes_up: int
    bytes_down: int
    seconds: dict[str, float] = Field(description="wall time by phase: train, aggregate")

    @property
    def losses(self) -> tuple[float, ...]:
        return tuple(participant.loss for participant in self.participants)


class EvaluationRecord(Record):
    """evaluation.json: the scores of a round's weights and of bicubic interpolation on the held-out clips."""

    what: ClassVar[str] = "evaluation record"

    run: str
    round: int
    model: str
    global_digest: str
    dataset_digest: str
    crop_border: int
    scores: tuple[ClipScores, ...]
    bicubic: tuple[ClipScores, ...]
    seconds: float

    def mean(self, metric: str, *, of_bicubic: bool = False) -> float:
        """Returns the mean of a metric over all frames."""
        return mean_over_frames(self.bicubic if of_bicubic else self.scores, metric)

    @property
    def gain(self) -> float:
        """PSNR (Y) minus that of bicubic interpolation, in dB."""
        return self.mean("psnr_y") - self.mean("psnr_y", of_bicubic=True)


class RegistrationRecord(Record):
    """registration.json: which model version a run became."""

    what: ClassVar[str] = "registration record"

    run: str
    round: int
    model: str
    model_version: str
    mlflow_run_id: str
    global_digest: str


class ModelRecord(Record):
    """model.json: which network weights belong to; it lies beside them wherever they go.

    Weights that come from elsewhere have a source and no run.
    """

    what: ClassVar[str] = "model record"

    name: str
    options: dict[str, JsonValue]
    scale: int
    degradation: str | None = None
    weights_digest: str
    source: str = ""
    run: str | None = None
    round: int | None = None
    strategy: str | None = None
    dataset_digest: str | None = None
    psnr_y: float | None = None
    bicubic_psnr_y: float | None = None
