"""An answer of Kubernetes that goes on: a watch, or a log that is followed."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from urllib3.exceptions import HTTPError

from fedvsr.errors import ClusterError

# What the HTTP library raises when there is no answer, or no whole one.
BROKEN = (HTTPError, OSError)

# Who writes the lines is not trusted: one without an end would fill the memory.
_MAX_BYTES = 1 << 20


class Stream:
    """The lines of an answer, until the server or another thread ends it.

    Args:
        response: The open response of the HTTP library.
    """

    def __init__(self, response: Any) -> None:
        self._response = response

    def lines(self, most: int = _MAX_BYTES) -> Iterator[bytes]:
        """Yields the lines without their ends; of a longer one than ``most`` bytes, that many.

        Raises:
            fedvsr.errors.ClusterError: The connection broke, also where `close` ended it.
        """
        kept = b""
        for chunk in self._chunks():
            *whole, rest = chunk.split(b"\n")
            for line in whole:
                yield (kept + line)[:most]
                kept = b""
            kept = (kept + rest)[:most]
        if kept:
            yield kept

    def read(self) -> bytes:
        """Returns all of it, where it does not go on; raises `fedvsr.errors.ClusterError`."""
        return b"".join(self._chunks())

    def close(self) -> None:
        """Ends it, also while another thread waits for its next line."""
        # It may have ended by itself.
        with suppress(ValueError, RuntimeError, OSError, AttributeError):
            self._response.shutdown()

    def _chunks(self) -> Iterator[bytes]:
        try:
            yield from self._response.stream(amt=None, decode_content=False)
        except (*BROKEN, AttributeError) as error:
            # AttributeError: what TLS says when another thread ends the connection.
            raise ClusterError(f"the connection to Kubernetes broke ({error})") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._response.close()


class StreamThread(threading.Thread):
    """A thread that reads streams, one after the other, until it is stopped.

    Args:
        name: What the thread is called.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._stopped = threading.Event()
        self._stream: Stream | None = None

    def stop(self) -> None:
        """Makes it end, also while it waits for a line; `join` waits for that."""
        self._stopped.set()
        stream = self._stream
        if stream:
            stream.close()

    def _begin(self, stream: Stream) -> bool:
        """Has `stop` end this stream; returns False where it was called before there was one to close."""
        self._stream = stream
        return not self._stopped.is_set()
