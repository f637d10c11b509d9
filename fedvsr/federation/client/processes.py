"""Trains one client's model in several processes, each on a GPU of its own or all on the CPU."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from fedvsr.config.run import RunConfig
from fedvsr.errors import FedVSRError, ParallelTrainingError
from fedvsr.federation.client.local_training import LocalTraining, TrainingTask
from fedvsr.federation.client.task_folder import TaskFolder
from fedvsr.progress import Advance, Progress
from fedvsr.waiting import end_process
from fedvsr.weights import Tensors

_GRACE_SECONDS = 15.0
# A container's usual share of memory for shared files is 64 MB, too small for NCCL with several GPUs.
_SHARED_FILES, _MIN_SHARED_BYTES = Path("/dev/shm"), 2**29  # noqa: S108
_LAST_LINES = 20


def process_count(config: RunConfig) -> int:
    """Returns how many processes train a client's model on this machine."""
    training, gpus = config.training, config.jobs.gpus
    if training.processes:
        return training.processes
    if gpus > 1 and training.device in ("auto", "cuda"):
        return max(1, min(gpus, torch.cuda.device_count()))
    return 1


def train_in_processes(
    task: TrainingTask, sent: Tensors, own: str, processes: int, progress: Progress
) -> LocalTraining:
    """Trains in processes of their own, which end when this one ends, however that ends.

    Args:
        task: The task.
        sent: The weights that the client starts from.
        own: The address of the client's own store.
        processes: The number of processes.
        progress: Reports progress per local step.

    Raises:
        fedvsr.errors.FedVSRError: The error of a process that cannot train.
        fedvsr.errors.ParallelTrainingError: A process was killed or failed for another reason.
    """
    with tempfile.TemporaryDirectory(prefix="fedvsr-") as name:
        folder = TaskFolder(Path(name))
        folder.write_task(task, sent, own)
        with subprocess.Popen(  # noqa: S603 -- our own program
            [sys.executable, "-m", "fedvsr.federation.client.rank_group", name, str(processes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(processes),
            # Ctrl-C reaches this process, which ends the others.
            start_new_session=True,
        ) as group:
            try:
                assert group.stdout is not None
                _follow(group.stdout, progress)
                group.wait()
            finally:
                if group.poll() is None:
                    end_process(group, _GRACE_SECONDS)
        if group.returncode:
            raise _failure(folder, task, processes, progress)
        return folder.read_result()


def _environment(processes: int) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0))
    defaults = {
        "OMP_NUM_THREADS": str(max(1, cores // processes)),
        # All processes are on this machine.
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
    }
    if not _SHARED_FILES.exists() or shutil.disk_usage(_SHARED_FILES).total < _MIN_SHARED_BYTES:
        defaults["NCCL_SHM_DISABLE"] = "1"
    # A model named package.module:name is found where this process finds it.
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
    return {**defaults, **os.environ, "PYTHONPATH": path}


def _follow(lines: Iterable[bytes], progress: Progress) -> None:
    """Reports the progress that rank 0 writes, and what a model prints, until the processes have ended."""
    advance: Advance = lambda done, text: None  # noqa: E731
    with ExitStack() as stage:
        for line in lines:
            text = line.decode(errors="replace").rstrip()
            event = _parse(text)
            if "stage" in event:
                advance = stage.enter_context(progress.stage(event["stage"], event["total"]))
            elif "done" in event:
                advance(event["done"], event["text"])
            else:
                progress.message(event.get("message", text))


def _parse(text: str) -> dict[str, Any]:
    try:
        event = json.loads(text)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _failure(folder: TaskFolder, task: TrainingTask, processes: int, progress: Progress) -> FedVSRError:
    """Returns the error of the process that failed first; the log gets what else is known of it."""
    codes = folder.read_exit_codes()
    errors = {rank: error for rank in range(processes) if (error := folder.read_error(rank))}
    for error in errors.values():
        known = error.to_exception()
        if known:
            return known
    for rank, error in errors.items():
        progress.message(error.details)
        return ParallelTrainingError(task.client, task.plan.round, rank, processes, error.message)
    # Those that the agent ended come last.
    ended = [rank for rank, code in codes.items() if code != -signal.SIGTERM] or list(codes)
    if not ended:
        reason = "the agent that starts the processes was ended"
        return ParallelTrainingError(task.client, task.plan.round, None, processes, reason)
    for line in _last_lines(folder, ended[0]):
        progress.message(line)
    reason = _describe_exit(codes[ended[0]])
    return ParallelTrainingError(task.client, task.plan.round, ended[0], processes, reason)


def _describe_exit(code: int) -> str:
    if code == -signal.SIGKILL:
        return (
            "it was killed by SIGKILL, as the system does when memory runs out; give the client more memory, "
            "or set training.accumulation or training.activation_checkpointing"
        )
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}; the log has its last lines"
    return f"it ended with exit code {code} and no word; the log has its last lines"


def _last_lines(folder: TaskFolder, rank: int) -> list[str]:
    """Returns the end of what a process wrote to its standard error; rank 0's is in this process's log."""
    for path in folder.root.glob(f"logs/*/attempt_0/{rank}/stderr.log"):
        return path.read_text(errors="replace").splitlines()[-_LAST_LINES:]
    return []
