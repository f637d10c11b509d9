"""Every error that fedvsr raises on purpose.

    FedVSRError
    ├── InputError                what a person gave is wrong: mend it and start again
    │   ├── ConfigError           a field of the configuration
    │   ├── VideoError            a video or folder that cannot be read or is too short
    │   └── UnknownNameError      a model, strategy, degradation or run that does not exist
    ├── DataError                 bytes that are not what their record says
    │   ├── ShardError            a shard that is corrupt or of another format
    │   ├── WeightsError          weights that are truncated or do not fit the model
    │   └── RecordError           a JSON record that is missing a field or of another version
    ├── StoreError                the object store refused or failed
    │   ├── NotFoundError         no object has that key
    │   └── AccessDeniedError     these credentials may not do that
    ├── UpdateError               the aggregator refuses a client's update
    ├── TrainingError             local training cannot go on
    │   └── NonFiniteLossError    the loss became NaN or infinite
    ├── QuorumError               too few clients delivered in a round
    ├── ClusterError              Kubernetes refused or cannot be reached
    ├── TrackingError             MLflow refused or failed
    └── PipelinesError            Kubeflow Pipelines refused or failed

A message is one or two sentences: what was expected, what came, and what to do next.
"""

from collections.abc import Iterable


class FedVSRError(Exception):
    """The root of the tree: catch it to catch everything fedvsr raises on purpose."""

    exit_code = 1


class InputError(FedVSRError):
    """Something that a person gave is wrong; nothing was changed."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration field has a value that is not allowed.

    Args:
        field: The field's dotted name, as in the YAML file.
        value: What it was set to.
        allowed: What it may be set to, in words.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field}: {value!r} is not allowed; {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed


class VideoError(InputError):
    """A video or a folder of videos cannot be used."""


class UnknownNameError(InputError):
    """A name is in no registry.

    Args:
        kind: What was looked for.
        name: Its name.
        known: The names there are.
        hint: What to do next, where there is more to say.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = sorted(known)
        message = f"unknown {kind} {name!r}; known: {', '.join(known) or 'none'}"
        super().__init__(f"{message}; {hint}" if hint else message)
        self.kind = kind
        self.name = name
        self.known = known


class DataError(FedVSRError):
    """Stored bytes are not what their record says."""


class ShardError(DataError):
    """A shard is corrupt, truncated, or of another format."""


class WeightsError(DataError):
    """Weights are truncated, have another digest, or do not fit the model."""


class RecordError(DataError):
    """A JSON record is malformed or of a version this fedvsr does not read."""


class StoreError(FedVSRError):
    """The object store refused or failed; running the step again is safe."""


class NotFoundError(StoreError):
    """No object has that key."""

    def __init__(self, key: str, store: str) -> None:
        super().__init__(f"no object {key!r} in {store}")
        self.key = key


class AccessDeniedError(StoreError):
    """The object store's credentials may not do what was asked."""


class UpdateError(FedVSRError):
    """The aggregator refuses a client's update.

    Args:
        client: The client that sent it.
        round_number: The round it was sent for.
        reason: What was expected and what came, naming the tensor where there is one.
    """

    def __init__(self, client: str, round_number: int, reason: str) -> None:
        super().__init__(f"round {round_number}: the update of client {client!r} is refused: {reason}")
        self.client = client
        self.round_number = round_number
        self.reason = reason


class TrainingError(FedVSRError):
    """Local training cannot go on."""


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite.

    Args:
        step: The local step, counted from 1.
        loss: The loss's value.
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


class QuorumError(FedVSRError):
    """Fewer clients than the quorum delivered an update."""


class ClusterError(FedVSRError):
    """Kubernetes refused or cannot be reached.

    Args:
        message: What was asked of it, what it said, and what to do next.
        status: The HTTP status of its answer; 0 where there was none.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class TrackingError(FedVSRError):
    """MLflow refused or failed."""


class PipelinesError(FedVSRError):
    """Kubeflow Pipelines refused or failed."""
