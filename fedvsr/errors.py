"""All errors that fedvsr raises on purpose.

    FedVSRError
    ├── InputError                an input is wrong: correct it and start again
    │   ├── ConfigError           a field of the configuration
    │   ├── VideoError            a video or folder that cannot be read or is too short
    │   ├── ModelError            a model whose output has the wrong shape or is not finite
    │   └── UnknownNameError      a model, strategy, degradation or run that does not exist
    ├── DataError                 stored bytes differ from their record
    │   ├── ShardError            a shard that is corrupt or has an unexpected format
    │   ├── WeightsError          weights that are truncated or do not fit the model
    │   └── RecordError           a JSON record that is invalid or has an unsupported version
    ├── StoreError                the object store refused or failed
    │   ├── NotFoundError         no object has that key
    │   ├── AccessDeniedError     the credentials do not allow it
    │   ├── CredentialsError      the server does not know the credentials
    │   ├── ClockError            this machine's clock is wrong
    │   └── CertificateError      the server's certificate is not valid
    ├── UpdateError               the aggregator refuses a client's update
    ├── SecureAggregationError    a message or list of secure aggregation is refused, or the sum stays closed
    ├── TrainingError             local training cannot continue
    │   └── NonFiniteLossError    the loss became NaN or infinite
    ├── ParallelTrainingError     a process of a client's training was killed or failed
    ├── AccessFileError           an invitation that cannot be used or written
    ├── SiteError                 a site's agent or its folder
    ├── StudyError                cells of a study failed
    ├── QuorumError               too few clients delivered in a round
    ├── ClusterError              Kubernetes refused or cannot be reached
    ├── TrackingError             MLflow refused or failed
    └── PipelinesError            Kubeflow Pipelines refused or failed

A message is one or two sentences: what was expected, what was found, and what to do next.
"""

from collections.abc import Iterable
from typing import Any


class FedVSRError(Exception):
    """The root of the tree. Catch it to catch every error that fedvsr raises on purpose."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process sends its errors to the process that started it. By default, pickle would call a
        # subclass's constructor with the message.
        return _restore, (type(self), self.args, self.__dict__)


class InputError(FedVSRError):
    """An input is wrong; nothing was changed."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration field has a value that is not allowed.

    Args:
        field: The field's dotted name, as in the YAML file.
        value: The value that was set.
        allowed: The values that are allowed, in words.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field}: {value!r} is not allowed; {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed


class VideoError(InputError):
    """A video or a folder of videos cannot be used."""


class ModelError(InputError):
    """A model's output has the wrong shape or is not finite.

    Args:
        model: The model's name.
        problem: What was expected and what it returned.
    """

    def __init__(self, model: str, problem: str) -> None:
        super().__init__(f"model {model}: {problem}; correct it or use another model")
        self.model = model


class UnknownNameError(InputError):
    """A name is not in the registry of its kind.

    Args:
        kind: The kind of the name, for example "model".
        name: The unknown name.
        known: The known names.
        hint: What to do next; may be empty.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = sorted(known)
        message = f"unknown {kind} {name!r}; known: {', '.join(known) or 'none'}"
        super().__init__(f"{message}; {hint}" if hint else message)
        self.kind = kind
        self.name = name
        self.known = known


class DataError(FedVSRError):
    """Stored bytes differ from their record."""


class ShardError(DataError):
    """A shard is corrupt, truncated, or has an unexpected format."""


class WeightsError(DataError):
    """Weights are truncated, have another digest, or do not fit the model."""


class RecordError(DataError):
    """A JSON record is invalid, or this fedvsr does not support its version."""


class StoreError(FedVSRError):
    """The object store refused or failed; running the step again is safe."""


class NotFoundError(StoreError):
    """No object has that key."""

    def __init__(self, key: str, store: str) -> None:
        super().__init__(f"no object {key!r} in {store}")
        self.key = key


class AccessDeniedError(StoreError):
    """The object store's credentials do not allow the request."""


class CredentialsError(StoreError):
    """The object store does not know the keys, or knows them no longer."""


class ClockError(StoreError):
    """The object store refuses the request because this machine's clock is wrong."""


class CertificateError(StoreError):
    """The object store's certificate is not signed by an authority that this machine trusts."""


class UpdateError(FedVSRError):
    """The aggregator refuses a client's update.

    Args:
        client: The client that sent it.
        round_number: The round it was sent for.
        reason: What was expected and what was found; with the tensor's name if a tensor is wrong.
    """

    def __init__(self, client: str, round_number: int, reason: str) -> None:
        super().__init__(f"round {round_number}: the update of client {client!r} is refused: {reason}")
        self.client = client
        self.round_number = round_number
        self.reason = reason


class SecureAggregationError(FedVSRError):
    """A message or a list of secure aggregation is refused, or the sum cannot be opened.

    Args:
        round_number: The round.
        reason: What was expected, what came, and what to do next; with the clients' names.
        clients: The clients whose messages are wrong or missing.
    """

    def __init__(self, round_number: int, reason: str, clients: Iterable[str] = ()) -> None:
        super().__init__(f"round {round_number}: secure aggregation: {reason}")
        self.round_number = round_number
        self.reason = reason
        self.clients = tuple(clients)


class TrainingError(FedVSRError):
    """Local training cannot continue."""


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite.

    Args:
        step: The local step, counted from 1.
        loss: The value of the loss.
        clips: The names of the clips in that step's batch.
    """

    def __init__(self, step: int, loss: float, clips: Iterable[str]) -> None:
        self.step = step
        self.loss = loss
        self.clips = tuple(clips)
        super().__init__(
            f"the loss is {loss} at step {step} (batch: {', '.join(self.clips)}); "
            "lower training.learning_rate or look at these clips"
        )


class ParallelTrainingError(FedVSRError):
    """One of the processes that train a client's model together was killed, or failed unexpectedly.

    Args:
        client: The client.
        round_number: The round.
        rank: The number of the process, from 0; None if it is not known.
        processes: The number of processes.
        reason: What happened to it, and what to do next.
    """

    def __init__(self, client: str, round_number: int, rank: int | None, processes: int, reason: str) -> None:
        which = "a rank" if rank is None else f"rank {rank}"
        super().__init__(f"client {client!r}, round {round_number}: {which} of {processes} failed: {reason}")
        self.client = client
        self.round_number = round_number
        self.rank = rank
        self.processes = processes
        self.reason = reason


class AccessFileError(FedVSRError):
    """A file with keys cannot be used or written."""


class SiteError(FedVSRError):
    """A site's agent cannot work: its folder, its audit log or another agent stands in the way."""


class StudyError(FedVSRError):
    """Cells of a study failed; the others have ended."""


class QuorumError(FedVSRError):
    """Fewer clients delivered an update than the quorum, or than the strategy needs."""


class ClusterError(FedVSRError):
    """Kubernetes refused or cannot be reached.

    Args:
        message: The request, the answer, and what to do next.
        status: The HTTP status of the answer; 0 if there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class TrackingError(FedVSRError):
    """MLflow refused or failed."""


class PipelinesError(FedVSRError):
    """Kubeflow Pipelines refused or failed."""


PERMANENT_ERRORS = (InputError, DataError, TrainingError, NotFoundError)
"""The errors of a client's work that another attempt would meet again."""


def _restore(kind: type[FedVSRError], args: tuple[Any, ...], attributes: dict[str, Any]) -> FedVSRError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error
