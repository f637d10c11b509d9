"""A line to a server that a test cuts, counts and slows down."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_BLOCK = 64 << 10


@dataclass
class Line:
    """A TCP relay on the loopback interface.

    Attributes:
        port: Its port.
        sent: The bytes that went to the server.
        received: The bytes that came back.
        cut_after_sent: The line is cut once, when this many more bytes have gone to the server.
        cut_after_received: The same for bytes that come back.
        is_down: New connections are closed at once.
        seconds_per_block: How long a block of 64 KiB needs to the server.
    """

    port: int
    sent: int = 0
    received: int = 0
    cut_after_sent: int | None = None
    cut_after_received: int | None = None
    is_down: bool = False
    seconds_per_block: float = 0.0
    connections: int = 0
    _pause: threading.Event = field(default_factory=threading.Event)

    def forward(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_BLOCK):
                if self._is_cut(len(data), is_answer):
                    break
                if self.seconds_per_block and not is_answer:
                    self._pause.wait(self.seconds_per_block)
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _is_cut(self, size: int, is_answer: bool) -> bool:
        if is_answer:
            self.received += size
            if self.cut_after_received is None:
                return False
            self.cut_after_received -= size
            if self.cut_after_received > 0:
                return False
            self.cut_after_received = None
        else:
            self.sent += size
            if self.cut_after_sent is None:
                return False
            self.cut_after_sent -= size
            if self.cut_after_sent > 0:
                return False
            self.cut_after_sent = None
        return True


@contextmanager
def line_to(host: str, port: int) -> Iterator[Line]:
    """Opens a line to a server for the block."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BLOCK)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        line = Line(listener.getsockname()[1])
        threads: list[threading.Thread] = []
        sockets: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                line.connections += 1
                if line.is_down:
                    client.close()
                    continue
                server = socket.create_connection((host, port))
                sockets.extend((client, server))
                for arguments in ((client, server, False), (server, client, True)):
                    thread = threading.Thread(target=line.forward, args=arguments)
                    thread.start()
                    threads.append(thread)

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield line
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for end in sockets:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for end in sockets:
                end.close()
