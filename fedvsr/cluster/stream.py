"""Answers of Kubernetes that arrive line by line: a watch, or a log that is followed."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from urllib3.exceptions import HTTPError

from fedvsr.errors import ClusterError

# The errors of the HTTP library if it receives no complete answer.
CONNECTION_ERRORS = (HTTPError, OSError)

# The code of a client writes the lines and is not trusted; an endless line would fill the memory.
_MAX_LINE_BYTES = 1 << 20


class Stream:
    """The lines of an answer, until the server or another thread ends it.

    Args:
        response: The open response of the HTTP library.
    """

    def __init__(self, response: Any) -> None:
        self._response = response

    def lines(self, max_bytes: int = _MAX_LINE_BYTES) -> Iterator[bytes]:
        """Yields the lines without their ends, each cut to ``max_bytes``.

        Raises:
            fedvsr.errors.ClusterError: The connection broke, or `close` ended it.
        """
        kept = b""
        for chunk in self._chunks():
            *complete, rest = chunk.split(b"\n")
            for line in complete:
                yield (kept + line)[:max_bytes]
                kept = b""
            kept = (kept + rest)[:max_bytes]
        if kept:
            yield kept

    def read(self) -> bytes:
        """Returns the whole answer.

        Raises:
            fedvsr.errors.ClusterError: The connection broke.
        """
        return b"".join(self._chunks())

    def close(self) -> None:
        """Ends the stream, even while another thread waits for its next line."""
        # The stream may have ended already.
        with suppress(ValueError, RuntimeError, OSError, AttributeError):
            self._response.shutdown()

    def _chunks(self) -> Iterator[bytes]:
        try:
            yield from self._response.stream(amt=None, decode_content=False)
        except (*CONNECTION_ERRORS, AttributeError) as error:
            # TLS raises AttributeError when another thread ends the connection.
            raise ClusterError(f"the connection to Kubernetes broke ({error})") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._response.close()


class StreamThread(threading.Thread):
    """A thread that reads streams one after the other until it is stopped.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._stopped = threading.Event()
        self._stream: Stream | None = None

    def stop(self) -> None:
        """Asks the thread to end, even while it waits for a line; `join` waits until it has ended."""
        self._stopped.set()
        stream = self._stream
        if stream:
            stream.close()

    def _attach(self, stream: Stream) -> bool:
        """Makes `stop` close this stream; returns False if `stop` has already been called."""
        self._stream = stream
        return not self._stopped.is_set()
