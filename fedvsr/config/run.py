"""The configuration of a federated run: everything that its final weights depend on, and how its Jobs run.

The names of models, strategies and degradations are not checked here, but by their registries.
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from fedvsr.config.base import FieldError, PathSection, Section
from fedvsr.config.presets import PRESETS
from fedvsr.config.privacy import PrivacyConfig
from fedvsr.config.schedule import ScheduleConfig
from fedvsr.config.server import ServerConfig

# A valid Kubernetes label, because Jobs and namespaces are named after runs and clients.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]


def _equals(default: object) -> Callable[[object], bool]:
    return lambda value: value == default


class DataConfig(Section):
    """How videos become training and evaluation clips."""

    dataset: Name = Field("default", description="name of the shards in each client's store")
    scale: Literal[2, 3, 4] = Field(4, description="enlargement of height and width")
    degradation: str = Field("bi", description="how low-resolution frames are made")
    split_shots: bool = Field(True, description="cut videos where the shot changes")
    minimum_frames: int = Field(8, ge=1, description="shots with fewer frames are left out")
    maximum_frames: int = Field(100, ge=1, description="shots with more frames are cut into clips")
    # A record leaves out the next two fields at their defaults: so it reads, and a run's identity and its
    # shards' digest are, as before there were these fields.
    strict: bool = Field(
        False,
        exclude_if=_equals(False),
        description="whether a video that cannot be used is an error; if not, it is left out",
    )
    damaged_frames: Literal["error", "skip"] = Field(
        "error",
        exclude_if=_equals("error"),
        description="a frame that cannot be decoded makes its video unusable (error), or is left out (skip)",
    )
    storage: Literal["raw", "lossless", "source"] = Field(
        "raw",
        exclude_if=_equals("raw"),
        description="how frames are stored: raw is fastest, lossless half as large, source (the video's own "
        "stream) smallest",
    )
    low_resolution: Literal["stored", "computed"] = Field(
        "stored",
        exclude_if=_equals("stored"),
        description="whether low-resolution frames are stored, or computed when a patch is read",
    )

    @model_validator(mode="after")
    def _frames_in_order(self) -> Self:
        if self.maximum_frames < self.minimum_frames:
            raise FieldError(
                "data.maximum_frames",
                self.maximum_frames,
                f"it must be at least data.minimum_frames ({self.minimum_frames})",
            )
        return self


class ModelConfig(Section):
    """Which network is trained."""

    name: str = Field("fastvsr", description="the network, or a preset of one")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="the model's own options")

    @model_validator(mode="before")
    @classmethod
    def _replace_preset(cls, values: object) -> object:
        """Replaces a preset by its model and options. Options that are set too replace the preset's."""
        name = values.get("name") if isinstance(values, dict) else None
        preset = PRESETS.get(name) if isinstance(name, str) else None
        if preset is None or not isinstance(values, dict):
            return values
        options = values.get("options") or {}
        if not isinstance(options, dict):
            return values
        return {**values, "name": preset.model, "options": {**preset.options, **options}}


class ParameterRule(Section):
    """How parameters are trained whose names match a pattern."""

    learning_rate_multiplier: float = Field(1.0, gt=0, description="factor of their learning rate")
    frozen_steps: int = Field(0, ge=0, description="steps of the run before they are trained")


class PretrainedFile(PathSection):
    """A file with the weights of a part of a model."""

    path: str = Field(description="a checkpoint, or the folder of a converted model")
    sha256: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")] = Field(
        "", description="the file's SHA-256; if empty, the digits in its name are compared"
    )


class AugmentationConfig(Section):
    """Which random symmetries training patches have; each part that is on happens to half of the patches."""

    flip: bool = Field(True, description="whether patches are flipped left to right")
    rotate: bool = Field(
        True, description="whether patches are flipped upside down and transposed: with flip, all rotations"
    )
    reverse: bool = Field(True, description="whether patches are played backwards")


class TrainingConfig(Section):
    """How a client trains in one round."""

    local_steps: int = Field(0, ge=0, description="optimiser steps per round; 0: use local_epochs")
    local_epochs: int = Field(1, ge=1, description="passes over the client's clips per round")
    # Left out of a record at its default, as are the other fields that came later.
    epoch: Literal["clips", "frames"] = Field(
        "clips",
        exclude_if=_equals("clips"),
        description="what a pass takes one patch of: every clip, or every frame, as the papers' code does",
    )
    batch_size: int = Field(2, ge=1, description="clips per step")
    frames: int = Field(8, ge=1, description="frames of a training clip")
    patch_size: int = Field(
        256, ge=8, description="height and width of a training patch, in ground-truth pixels"
    )
    augmentation: AugmentationConfig = Field(AugmentationConfig(), exclude_if=_equals(AugmentationConfig()))
    learning_rate: float = Field(4e-4, gt=0, description="Adam's learning rate")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's first decay rate")
    beta2: float = Field(0.99, ge=0, lt=1, description="Adam's second decay rate")
    lambda_vsr: float = Field(1.0, ge=0, description="weight of the Charbonnier loss")
    lambda_hf: float = Field(
        1.0, ge=0, description="weight of the high-frequency loss, for strategies that use it"
    )
    epsilon: float = Field(1e-9, gt=0, description="Charbonnier's epsilon")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="bfloat16, float16: autocast, on a GPU that supports it; float16 scales the loss",
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    readers: int = Field(
        1,
        ge=1,
        le=64,
        exclude_if=_equals(1),
        description="threads that read, decode and degrade patches while the step before is computed",
    )
    threads: int = Field(
        0, ge=0, description="CPU threads; 0: PyTorch's choice. Weights are repeatable for a fixed number"
    )
    # In a run's identity like the threads, since the weights depend on it by rounding. The default leaves it
    # to jobs.gpus, which is not: a client's hardware may change.
    processes: int = Field(
        0,
        ge=0,
        exclude_if=_equals(0),
        description="processes that share a client's batches; 0: one for each GPU of jobs.gpus",
    )
    parameters: dict[str, ParameterRule] = Field(
        default_factory=dict,
        description="learning_rate_multiplier and frozen_steps by regular expression of parameter names",
    )
    pretrained: dict[str, PretrainedFile] = Field(
        default_factory=dict,
        exclude_if=_equals({}),
        description="files with initial weights of parts of the model, by the parts' names: spynet=FILE",
    )
    accumulation: int = Field(1, ge=1, description="parts that a batch is split into, to save memory")
    activation_checkpointing: bool = Field(False, description="recompute activations, to save memory")
    activations_on_cpu: bool = Field(False, description="keep activations in the CPU's memory")
    compile: bool = Field(False, description="compile the model with torch.compile")
    # A record leaves out the next fields at their defaults, as the newer sections of `RunConfig`.
    schedule: ScheduleConfig = Field(ScheduleConfig(), exclude_if=_equals(ScheduleConfig()))
    weight_decay: float = Field(
        0.0, ge=0, exclude_if=_equals(0.0), description="AdamW's decoupled weight decay; 0: Adam"
    )
    ema_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        exclude_if=_equals(0.0),
        description="decay rate of the average over the local steps that a client sends; 0: the last weights",
    )


class StrategyConfig(Section):
    """Which federated method is used."""

    name: str = Field("fedvsr", description="the federated method")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="the strategy's own options")


class CommunicationConfig(Section):
    """How what travels between the server and the clients is encoded."""

    upload: str = Field("float32", description="codec of the clients' updates")
    download: str = Field("float32", description="codec of the global weights that the clients get")


class FederationConfig(Section):
    """Which clients train, for how long, and how many must deliver."""

    rounds: int = Field(10, ge=1, description="rounds of training and aggregation")
    clients: tuple[Name, ...] = Field((), description="the clients; empty: those of the clients section")
    clients_per_round: int = Field(0, ge=0, description="clients drawn for a round; 0: all")
    quorum: int = Field(1, ge=1, description="clients that must deliver for a round to count")
    deadline_seconds: int = Field(3600, ge=1, description="how long a round waits for its clients")
    wait_for: Literal["all", "quorum"] = Field(
        "all", description="quorum: a round ends as soon as the quorum has delivered; the others are cut off"
    )
    failing_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        exclude_if=_equals(0.0),
        description="share of a round's clients that fail on purpose, to study failures",
    )

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        if len(set(self.clients)) < len(self.clients):
            raise FieldError("federation.clients", list(self.clients), "each client may be named once")
        count = len(self.clients)
        if count and self.clients_per_round > count:
            raise FieldError(
                "federation.clients_per_round",
                self.clients_per_round,
                f"it must be at most the number of clients ({count})",
            )
        selected = self.clients_per_round or count
        if selected and self.quorum > selected:
            raise FieldError(
                "federation.quorum",
                self.quorum,
                f"it must be at most the number of clients in a round ({selected})",
            )
        failing = self.failing_count(selected)
        if failing and self.quorum > selected - failing:
            raise FieldError(
                "federation.failing_share",
                self.failing_share,
                f"it must leave the quorum of {self.quorum}; {failing} of {selected} clients would fail",
            )
        return self

    def failing_count(self, clients: int) -> int:
        """Returns how many of a round's clients fail on purpose: at most all but one.

        Args:
            clients: Number of clients in the round.
        """
        return max(0, min(math.floor(self.failing_share * clients + 0.5), clients - 1))


class RobustnessConfig(Section):
    """How far one client can move the global weights."""

    max_share: float | None = Field(
        None,
        ge=0,
        description="how many times the others' mean share a client's share may be; 0: no bound; "
        "empty: the strategy's own",
    )
    max_norm: float = Field(
        10.0,
        ge=0,
        description="how many times the round's median norm an update's norm may be, or the update is scaled "
        "down; 0: no bound",
    )

    @model_validator(mode="after")
    def _factors_of_at_least_one(self) -> Self:
        for name in ("max_share", "max_norm"):
            factor = getattr(self, name)
            if factor is not None and 0 < factor < 1:
                raise FieldError(f"robustness.{name}", factor, "it must be 0 (no bound) or at least 1")
        return self


class EvaluationConfig(Section):
    """How a round's weights are evaluated on the held-out clips."""

    every: int = Field(1, ge=1, description="evaluate every N rounds, and the last")
    crop_border: int = Field(0, ge=0, description="pixels left out at each border")
    lpips: bool = Field(False, description="compute LPIPS too (needs the lpips extra)")


class JobsConfig(Section):
    """How a client's work runs on Kubernetes; the values may change when a run is continued."""

    gpus: int = Field(
        0,
        ge=0,
        description="GPUs of a client's training Job; if several, its batches are shared among them, "
        "also at a site or on this machine, among at most as many as it has",
    )
    retries: int = Field(2, ge=0, description="how often a client's Job is retried after a failure")
    sharding_deadline_seconds: int = Field(
        21600, ge=1, description="how long sharding waits for a client's Job"
    )


class RunConfig(Section):
    """A federated run, as stored in runs/<name>/config.json."""

    name: Name = Field(description="the run's name: submitting it again continues it")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the weights, the sampling and the batches")
    warm_start: str = Field(
        "",
        description="initial weights: empty (random), champion, models:/NAME@ALIAS, a model's folder or file",
    )
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    strategy: StrategyConfig = StrategyConfig()
    federation: FederationConfig = FederationConfig()
    # Left out of a record at their defaults, so that runs from before these sections keep their identity.
    communication: CommunicationConfig = Field(
        CommunicationConfig(), exclude_if=_equals(CommunicationConfig())
    )
    robustness: RobustnessConfig = Field(RobustnessConfig(), exclude_if=_equals(RobustnessConfig()))
    privacy: PrivacyConfig = Field(PrivacyConfig(), exclude_if=_equals(PrivacyConfig()))
    server: ServerConfig = Field(ServerConfig(), exclude_if=_equals(ServerConfig()))
    evaluation: EvaluationConfig = EvaluationConfig()
    jobs: JobsConfig = JobsConfig()

    @model_validator(mode="after")
    def _one_source_of_weights(self) -> Self:
        if self.warm_start and self.training.pretrained:
            raise FieldError(
                "training.pretrained",
                sorted(self.training.pretrained),
                "warm_start gives all weights: set one of the two",
            )
        return self

    @model_validator(mode="after")
    def _patch_fits_scale(self) -> Self:
        if self.training.patch_size % self.data.scale:
            raise FieldError(
                "training.patch_size",
                self.training.patch_size,
                f"it must be a multiple of data.scale ({self.data.scale})",
            )
        if self.training.frames > self.data.minimum_frames:
            raise FieldError(
                "training.frames",
                self.training.frames,
                f"it must be at most data.minimum_frames ({self.data.minimum_frames})",
            )
        return self
