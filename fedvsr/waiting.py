"""How long to wait before something that failed is tried again, and for a process to end."""

import os
import random
import subprocess

_STDIN = 0


def backoff_seconds(failures: int, first: float, longest: float) -> float:
    """Returns a wait that doubles with every failure. Half of it is random: no two waiters keep in step.

    Args:
        failures: How often it has failed already, besides this time; 0 for the first failure.
        first: The longest wait after the first failure, in seconds.
        longest: The longest wait at all, in seconds.
    """
    limit: float = min(longest, first * 2 ** min(failures, 10))
    return random.uniform(limit / 2, limit)


def end_process(process: "subprocess.Popen[bytes]", grace_seconds: float) -> None:
    """Ends a process by SIGTERM, and by SIGKILL if it still runs after the grace time. Waits for its end."""
    process.terminate()
    try:
        process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_with_stdin() -> None:
    """Ends this process at once when its parent has ended, even if that was killed; for a thread.

    The parent holds the other end of this process's standard input.
    """
    # Not by sys.stdin: its lock, held by this thread, would break the end of the interpreter.
    while os.read(_STDIN, 1):
        pass
    os._exit(1)
