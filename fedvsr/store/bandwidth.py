"""A limit on the bytes a second of all transfers together."""

import threading
import time
from collections.abc import Callable

_BURST_SECONDS = 0.25


class Bandwidth:
    """A token bucket that several threads share.

    The bucket holds the tokens of a quarter of a second, so an idle line gives no more than that for nothing.

    Args:
        bytes_per_second: Most bytes a second; 0 for no limit.
        clock: Returns the time in seconds.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        bytes_per_second: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bytes_per_second = bytes_per_second
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._is_free_at = 0.0

    def take(self, size: int) -> None:
        """Waits until ``size`` bytes may be transferred."""
        if not self._bytes_per_second:
            return
        with self._lock:
            now = self._clock()
            start = max(self._is_free_at, now - _BURST_SECONDS)
            self._is_free_at = start + size / self._bytes_per_second
            wait = self._is_free_at - now
        if wait > 0:
            self._sleep(wait)
