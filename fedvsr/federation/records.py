"""The JSON records in the stores: typed, versioned, and validated when they are read."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

from fedvsr.config.experiment import Experiment
from fedvsr.config.run import Name, RunConfig
from fedvsr.errors import RecordError
from fedvsr.scoring.clip_scores import ClipScores, mean_over_frames
from fedvsr.store.base import DIGEST_PATTERN, Store, bytes_digest
from fedvsr.text import printable

# Settings that may change when a run is continued. They are not part of the run's identity.
MAY_CHANGE: Final[Mapping[str, set[str] | bool]] = {
    "privacy": {"epsilon"},
    # How shards are stored changes no pixel that is trained on.
    "data": {"strict", "storage", "low_resolution"},
    "federation": {"rounds"},
    # A run's identity has the digest of the initial weights instead of their files.
    "training": {"pretrained", "readers"},
    "jobs": True,
}

# Limits on a client's records: a digest becomes a file's name, and numbers are summed and logged as floats.
MAX_RECORD_BYTES: Final = 1 << 20
MAX_LOSS: Final = 1e12
Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
Count = Annotated[int, Field(ge=0, le=2**53)]
PositiveCount = Annotated[int, Field(ge=1, le=2**53)]
Loss = Annotated[float, Field(ge=0, le=MAX_LOSS)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]


def _is_none(value: object) -> bool:
    return value is None


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
        """Parses and validates a record's bytes.

        Raises:
            fedvsr.errors.RecordError: The bytes are not a valid record of this class and version.
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


def read_untrusted_record(store: Store, key: str, record: type[AnyRecord]) -> AnyRecord:
    """Reads a record that a client wrote: refuses it before reading if it is too large.

    Raises NotFoundError or RecordError.
    """
    size = store.size(key)
    if size > MAX_RECORD_BYTES:
        raise RecordError(
            f"{store.uri}/{key} is {size} bytes, a {record.what} has at most {MAX_RECORD_BYTES}"
        )
    return read_record(store, key, record)


def write_record(store: Store, key: str, record: Record) -> None:
    """Writes a record to a store, atomically."""
    store.write(key, record.to_bytes())


class ClientRecord(Record):
    """clients/<name>.json: a client that takes part in the federation."""

    what: ClassVar[str] = "client record"

    name: Name


class ExperimentRecord(Record):
    """experiment.json: the experiment of `fedvsr run`, so that it can be resumed.

    ``namespace`` is that of the deployment whose clients train; empty if there is none. If ``sites``, the
    federation's sites train; otherwise, without a namespace, the clients train on this machine.
    """

    what: ClassVar[str] = "experiment record"

    experiment: Experiment
    namespace: str = ""
    sites: bool = Field(False, exclude_if=lambda sites: not sites)


class RunRecord(Record):
    """config.json: a run's settings and initial weights."""

    what: ClassVar[str] = "run record"

    config: RunConfig
    initial_digest: str
    parameters: int = Field(description="number of trainable parameters")
    fedvsr_version: str

    @property
    def identity(self) -> str:
        """The digest of everything that the weights depend on, except the number of rounds."""
        settings = self.config.model_dump_json(exclude=MAY_CHANGE)
        return bytes_digest(f"{settings} {self.initial_digest}".encode())


class PlanRecord(Record):
    """plan.json: a round's clients, base weights, quorum and deadline."""

    what: ClassVar[str] = "round plan"

    run: str
    round: int
    rounds: int
    clients: tuple[str, ...]
    base_digest: str
    strategy_digest: str | None = None
    quorum: int
    deadline_seconds: int
    clipping_norm: float | None = Field(
        None,
        exclude_if=_is_none,
        description="largest L2 norm of an update; None without differential privacy",
    )
    sent_digest: str | None = Field(
        None,
        exclude_if=_is_none,
        description="SHA-256 of the weights as the clients get them; None if they get the base weights",
    )


class TrainingFacts(Record):
    """What a client says about its training in a round."""

    what: ClassVar[str] = "training record"

    run: str
    round: Count
    client: str
    base_digest: Digest
    downloaded_bytes: Count
    dataset_digest: Digest
    loss: Loss = Field(description="mean of the training loss over the local steps")
    clips: PositiveCount = Field(description="clips in the client's shards")
    steps: PositiveCount
    samples: PositiveCount = Field(description="patches trained on")
    seconds: Seconds = Field(description="wall time of the training alone")
    device: str
    skipped_steps: Count = Field(
        0,
        exclude_if=lambda steps: steps == 0,
        description="steps that changed no weight, because their float16 gradients overflowed",
    )

    waiting_seconds: Seconds = Field(
        0.0, exclude_if=lambda seconds: seconds == 0, description="how long the training waited for patches"
    )

    def describe(self) -> str:
        """Returns the result as a phrase: ``loss 0.0149, 500 steps in 11.3 s on cpu``."""
        device = printable(self.device, 40)
        skipped = f" ({self.skipped_steps} skipped)" if self.skipped_steps else ""
        return f"loss {self.loss:.4f}, {self.steps} steps{skipped} in {self.seconds:.1f} s on {device}"


class ReportRecord(TrainingFacts):
    """report.json: a client's report about its update. The client writes it after the update."""

    what: ClassVar[str] = "client report"

    update_digest: Digest
    update_bytes: Count
    extra_digest: Digest | None = None
    extra_bytes: Count = 0


class Outcome(StrEnum):
    """The outcome of a client in a round."""

    OK = "ok"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    CUT_OFF = "cut-off"
    UNSCHEDULABLE = "unschedulable"
    REFUSED = "refused"
    DECLINED = "declined"
    OFFLINE = "offline"


class ClientOutcome(BaseModel):
    """One client's outcome, with a reason if it is not ok or if an earlier attempt failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    client: str
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0


class OutcomesRecord(Record):
    """outcomes.json: the clients' outcomes, as the training step recorded them."""

    what: ClassVar[str] = "outcomes record"

    run: str
    round: int
    outcomes: tuple[ClientOutcome, ...]
    seconds: float


class Clipping(BaseModel):
    """The norm of tensors that were scaled down, before and after."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    norm: float
    max_norm: float


class Participant(BaseModel):
    """A client whose update was aggregated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    client: str
    loss: float
    clips: int
    steps: int
    samples: int
    seconds: float
    waiting_seconds: float = Field(
        0.0, exclude_if=lambda seconds: seconds == 0, description="how long its training waited for patches"
    )
    weight: float | None = Field(
        description="its share of the aggregate; None if the strategy has no weights"
    )
    dataset_digest: str
    # Left out if nothing was limited, so that such a record has the bytes that it always had.
    weight_before_bound: float | None = Field(
        None, exclude_if=_is_none, description="its share without robustness.max_share, if that is larger"
    )
    update_clipping: Clipping | None = Field(
        None, exclude_if=_is_none, description="how robustness.max_norm scaled its update down"
    )
    strategy_tensors_clipping: Clipping | None = Field(
        None, exclude_if=_is_none, description="how robustness.max_norm scaled its strategy tensors down"
    )

    @property
    def limits(self) -> tuple[str, ...]:
        """What limited the client's influence on the aggregate, as sentences."""
        sentences = []
        if self.weight_before_bound is not None:
            sentences.append(
                f"its share was cut from {self.weight_before_bound:.4f} to {self.weight:.4f} "
                f"(it reported loss {self.loss:.3g} and {self.clips} clips)"
            )
        for what, clipping in (
            ("update was", self.update_clipping),
            ("strategy tensors were", self.strategy_tensors_clipping),
        ):
            if clipping is not None:
                sentences.append(
                    f"its {what} scaled down from norm {clipping.norm:.4g} to {clipping.max_norm:.4g}"
                )
        return tuple(f"client {self.client}: {sentence}" for sentence in sentences)


class DataChange(BaseModel):
    """A participant's clips are others than when it last took part in the run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    client: str
    since: int = Field(description="the round in which it last took part")
    clips_before: int
    clips: int

    def __str__(self) -> str:
        return (
            f"client {self.client}: its clips changed since round {self.since} "
            f"({self.clips_before} → {self.clips} clips)"
        )


class RoundPrivacy(BaseModel):
    """The differential privacy of a round."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epsilon: float = Field(description="spent by the run so far, at delta")
    delta: float
    noise_multiplier: float
    clipping_norm: float
    next_clipping_norm: float = Field(description="differs from this round's if the clipping is adaptive")


class RoundRecord(Record):
    """round.json: the result of a round. A round has ended if this record exists."""

    what: ClassVar[str] = "round record"

    run: str
    round: int
    strategy: str
    base_digest: str
    global_digest: str
    strategy_digest: str | None = None
    participants: tuple[Participant, ...]
    outcomes: tuple[ClientOutcome, ...]
    diagnostics: dict[str, float] = Field(
        description="numbers that the strategy reports about its aggregation, and the codecs' compression"
    )
    bytes_up: int
    bytes_down: int
    seconds: dict[str, float] = Field(description="wall time by phase: train, aggregate")
    # Left out if empty, so that a round without them has the bytes that it always had.
    privacy: RoundPrivacy | None = Field(None, exclude_if=_is_none)
    server_digest: str | None = Field(
        None, exclude_if=_is_none, description="SHA-256 of the server optimiser's state"
    )
    averaged_digest: str | None = Field(
        None, exclude_if=_is_none, description="SHA-256 of the average of several rounds' global weights"
    )
    data_changes: tuple[DataChange, ...] = Field((), exclude_if=lambda changes: not changes)

    @property
    def limits(self) -> tuple[str, ...]:
        """What limited clients' influence on the aggregate, as sentences."""
        return tuple(sentence for participant in self.participants for sentence in participant.limits)

    @property
    def limited_clients(self) -> int:
        """Number of clients whose share was cut or whose tensors were scaled down."""
        return sum(bool(participant.limits) for participant in self.participants)

    @property
    def losses(self) -> tuple[float, ...]:
        return tuple(participant.loss for participant in self.participants)


class AveragedScores(BaseModel):
    """The scores of the average of several rounds' global weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str = Field(description="SHA-256 of the averaged weights")
    scores: tuple[ClipScores, ...]


class EvaluationRecord(Record):
    """evaluation.json: the scores of a round's weights and of bicubic interpolation on the held-out clips.

    ``scores`` are those of the global weights. If the run averages the weights of several rounds,
    ``averaged`` has the scores of the average. The better of the two, by PSNR (Y), is the round's model: it
    is compared with other rounds, and registered if its round is the best one.
    """

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
    other_clips_in_round: int | None = Field(
        None,
        exclude_if=_is_none,
        description="the round evaluated before this one, if on other clips: the scores are not comparable",
    )

    averaged: AveragedScores | None = Field(
        None, exclude_if=_is_none, description="None if the run has no average, or one over one round"
    )

    @property
    def is_averaged(self) -> bool:
        """Whether the averaged weights are the round's model: whether they are better."""
        return self.averaged is not None and mean_over_frames(
            self.averaged.scores, "psnr_y"
        ) > mean_over_frames(self.scores, "psnr_y")

    @property
    def model_scores(self) -> tuple[ClipScores, ...]:
        """The scores of the round's model."""
        return self.averaged.scores if self.averaged and self.is_averaged else self.scores

    @property
    def model_digest(self) -> str:
        """The SHA-256 of the weights of the round's model."""
        return self.averaged.digest if self.averaged and self.is_averaged else self.global_digest

    def mean(self, metric: str, *, of_bicubic: bool = False) -> float:
        """Returns the mean of a metric over all frames, of the round's model or of bicubic interpolation."""
        return mean_over_frames(self.bicubic if of_bicubic else self.model_scores, metric)

    @property
    def gain(self) -> float:
        """PSNR (Y) of the round's model minus that of bicubic interpolation, in dB."""
        return self.mean("psnr_y") - self.mean("psnr_y", of_bicubic=True)

    def means(self, metrics: Iterable[str]) -> dict[str, float]:
        """Returns the means of metrics over all frames, by name.

        Those of the global weights have the metric's name, those of the averaged weights ``averaged_`` before
        it. ``psnr_y_over_bicubic`` is PSNR (Y) minus that of bicubic interpolation, in dB.
        """
        values: dict[str, float] = {}
        bicubic = self.mean("psnr_y", of_bicubic=True)
        for prefix, scores in (("", self.scores), ("averaged_", self.averaged and self.averaged.scores)):
            if scores:
                values |= {f"{prefix}{metric}": mean_over_frames(scores, metric) for metric in metrics}
                psnr = mean_over_frames(scores, "psnr_y")
                values[f"{prefix}psnr_y_over_bicubic"] = psnr - bicubic
        return values


class RegistrationRecord(Record):
    """registration.json: the registered model's version that a run's best round became."""

    what: ClassVar[str] = "registration record"

    run: str
    round: int
    model: str
    model_version: str
    mlflow_run_id: str
    global_digest: str = Field(description="SHA-256 of the version's weights")
    averaged: bool = Field(
        False,
        exclude_if=lambda averaged: not averaged,
        description="whether they are the average of several rounds",
    )


class ModelRecord(Record):
    """model.json: describes the network of a weights file; stored next to that file.

    Weights that were not trained by fedvsr have a source and no run.
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
