"""Starts the training processes under torchrun's agent: if one of them fails, the others are ended.

`python -m fedvsr.federation.client.rank_group FOLDER PROCESSES` is a process of its own, since the agent
takes over the signals of the process that it runs in.
"""

import logging
import sys
import uuid
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from fedvsr.federation.client.task_folder import TaskFolder

# A training process ends at once on SIGTERM. One that hangs, for example in a driver, is killed.
_GRACE_SECONDS = 5


def main() -> None:
    """Runs the processes to their end. Exits with 1 if one failed; the folder has all exit codes then."""
    root, processes = Path(sys.argv[1]), int(sys.argv[2])
    # The client's process says what went wrong, once.
    logging.disable(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        shutdown_timeout=_GRACE_SECONDS,
        # Rank 0 speaks for all; what the others print is in files, in case one is killed.
        logs_specs=DefaultLogsSpecs(str(root / "logs"), dict.fromkeys(range(1, processes), Std.ALL)),
    )
    try:
        elastic_launch(config, sys.executable)("-m", "fedvsr.federation.client.rank", str(root))
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        TaskFolder(root).write_exit_codes(codes)
        sys.exit(1)
    except SignalException as stop:
        sys.exit(128 + stop.sigval)


if __name__ == "__main__":
    main()
