"""One of the processes that train a client's model together; torchrun's agent starts it.

`python -m fedvsr.federation.client.rank FOLDER` reads the task in the folder. Rank 0 writes the result there,
and its progress as lines of JSON to the standard output.
"""

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from fedvsr.device import select_device
from fedvsr.federation.client.local_training import TrainingTask
from fedvsr.federation.client.task_folder import TaskFolder
from fedvsr.federation.client.train import train_task
from fedvsr.progress import Advance, Progress
from fedvsr.store.workspace import open_store
from fedvsr.training.ranks import LostRankError, joined
from fedvsr.waiting import end_with_stdin

# A process that has lost another one leaves it to the agent to notice that one's end first, which has the
# reason. If the other one does not end but hangs, this process ends after this long.
_LOST_SECONDS = 20.0


class LineProgress(Progress):
    """Writes progress as lines of JSON, which `fedvsr.federation.client.processes` reads."""

    @contextmanager
    def stage(self, label: str, total: int | None = None) -> Iterator[Advance]:
        _write({"stage": label, "total": total})
        yield lambda done, text: _write({"done": done, "text": text})

    def message(self, text: str) -> None:
        _write({"message": text})


def main() -> None:
    """Does this process's part; exits with 1 if it failed, and the folder has the reason then."""
    # The client's process holds the other end, and may be killed.
    threading.Thread(target=end_with_stdin, daemon=True).start()
    folder = TaskFolder(Path(sys.argv[1]))
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    try:
        _divide_memory_limit(size)
        _train(folder, rank, size)
    except Exception as error:
        if isinstance(error, LostRankError):
            time.sleep(_LOST_SECONDS)
        folder.write_error(rank, error)
        # Threads that read batches, and NCCL's, must not keep a process from ending.
        os._exit(1)


def _train(folder: TaskFolder, rank: int, size: int) -> None:
    task, sent, own = folder.read_task()
    device = rank_device(task, rank)
    with joined(rank, size, _backend(device, size)) as ranks:
        progress = Progress() if rank else LineProgress()
        result = train_task(task, open_store(own), lambda specs: sent, progress, device, ranks)
        if rank == 0:
            folder.write_result(result)


def rank_device(task: TrainingTask, rank: int) -> torch.device:
    """Returns the device of a process: a GPU of its own if ``training.device`` leaves the choice."""
    name = task.record.config.training.device
    device = select_device(name)
    if device.type == "cuda":
        if name in ("auto", "cuda"):
            device = torch.device("cuda", rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
    return device


def _backend(device: torch.device, size: int) -> str:
    """Returns the backend. NCCL needs a GPU per process; where the processes share one, gloo can do it."""
    if device.type == "cuda" and size <= torch.cuda.device_count():
        return "cpu:gloo,cuda:nccl"
    return "gloo"


def _divide_memory_limit(size: int) -> None:
    """Gives each process its part of a limit that a site set for the whole work."""
    limit, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if limit != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_DATA, (limit // size, hard))


def _write(event: dict[str, object]) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    main()
