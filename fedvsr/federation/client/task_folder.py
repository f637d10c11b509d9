"""A folder by which a client's process and its training processes exchange a task, its result and errors.

The client's process reads the federation's store and delivers. The training processes read this folder, and
the clips in the client's own store. So one process alone writes to a store.
"""

import json
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import fedvsr.errors
from fedvsr.errors import FedVSRError
from fedvsr.federation.client.local_training import LocalTraining, TrainingTask
from fedvsr.federation.records import PlanRecord, RunRecord
from fedvsr.strategies.base import LocalResult
from fedvsr.training.local import TrainingSummary
from fedvsr.weights import Array, Tensors, load, serialize


@dataclass(frozen=True)
class RankError:
    """Why a training process failed.

    Attributes:
        message: The error's message.
        details: Its traceback.
        name: The error's class, if it is one of `fedvsr.errors`; otherwise empty.
        attributes: The attributes of such an error.
    """

    message: str
    details: str
    name: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Describes an error."""
        details = "".join(traceback.format_exception(error))
        if isinstance(error, FedVSRError):
            attributes = json.loads(json.dumps(vars(error), default=str))
            return cls(str(error), details, type(error).__name__, attributes)
        return cls(f"{type(error).__name__}: {error}", details)

    def to_exception(self) -> FedVSRError | None:
        """Returns the error again, if it is one of `fedvsr.errors`."""
        if not self.name:
            return None
        error_class: type[FedVSRError] = getattr(fedvsr.errors, self.name)
        # Not by the class's own constructor, which makes the message from its arguments.
        error = error_class.__new__(error_class)
        FedVSRError.__init__(error, self.message)
        for name, value in self.attributes.items():
            setattr(error, name, tuple(value) if isinstance(value, list) else value)
        return error


class TaskFolder:
    """The folder of one task.

    Args:
        root: The folder, on this machine.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def write_task(self, task: TrainingTask, sent: Tensors, own: str) -> None:
        """Writes a task.

        Args:
            task: The task.
            sent: The weights that the client starts from.
            own: The address of the client's own store.
        """
        facts = {
            "record": task.record.model_dump(mode="json"),
            "plan": task.plan.model_dump(mode="json"),
            "client": task.client,
            "own": own,
        }
        self._path("task.json").write_text(json.dumps(facts))
        self._write_tensors("sent", sent)
        self._write_tensors("strategy-state", task.strategy_state)
        self._write_tensors("client-state", task.client_state)

    def read_task(self) -> tuple[TrainingTask, Tensors, str]:
        """Returns the arguments of `write_task`."""
        facts = json.loads(self._path("task.json").read_bytes())
        task = TrainingTask(
            RunRecord.model_validate(facts["record"]),
            PlanRecord.model_validate(facts["plan"]),
            facts["client"],
            self._read_tensors("strategy-state"),
            self._read_tensors("client-state"),
        )
        return task, self._read_tensors("sent"), facts["own"]

    def write_result(self, result: LocalTraining) -> None:
        """Writes the result."""
        self._write_tensors("weights", result.weights)
        self._write_tensors("strategy-tensors", result.local.strategy_tensors)
        self._write_tensors("new-client-state", result.local.client_state)
        facts = {"summary": asdict(result.summary), "clips": result.clips, "device": result.device}
        self._path("result.json").write_text(json.dumps(facts))

    def read_result(self) -> LocalTraining:
        """Returns the argument of `write_result`."""
        facts = json.loads(self._path("result.json").read_bytes())
        local = LocalResult(self._read_tensors("strategy-tensors"), self._read_tensors("new-client-state"))
        return LocalTraining(
            self._read_tensors("weights"),
            local,
            TrainingSummary(**facts["summary"]),
            facts["clips"],
            facts["device"],
        )

    def write_error(self, rank: int, error: Exception) -> None:
        """Writes why a training process failed."""
        self._path(f"error-{rank}.json").write_text(json.dumps(asdict(RankError.of(error))))

    def read_error(self, rank: int) -> RankError | None:
        """Returns why a training process failed; None if it ended without a word."""
        path = self._path(f"error-{rank}.json")
        return RankError(**json.loads(path.read_bytes())) if path.exists() else None

    def write_exit_codes(self, codes: dict[int, int]) -> None:
        """Writes the exit codes of the processes that failed or were ended, in that order."""
        self._path("exit-codes.json").write_text(json.dumps(list(codes.items())))

    def read_exit_codes(self) -> dict[int, int]:
        """Returns the argument of `write_exit_codes`; empty if there was none."""
        path = self._path("exit-codes.json")
        return dict(json.loads(path.read_bytes())) if path.exists() else {}

    def _path(self, name: str) -> Path:
        return self.root / name

    def _write_tensors(self, name: str, tensors: Tensors) -> None:
        self._path(f"{name}.safetensors").write_bytes(serialize(tensors))

    def _read_tensors(self, name: str) -> dict[str, Array]:
        path = self._path(f"{name}.safetensors")
        return load(path.read_bytes(), str(path))
