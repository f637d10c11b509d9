"""A TCP proxy that makes a network slow, lossy or dead, for benchmarks on one machine.

It stands for `tc netem`, which needs a kernel module and root. A lost segment shows up as the delay of its
retransmission, because TCP itself hides the loss.
"""

import random
import socket
import threading
import time
from dataclasses import dataclass, field

_SEGMENT_BYTES = 1448
_RETRANSMISSION_SECONDS = 0.4


@dataclass
class SlowNetwork:
    """A proxy on 127.0.0.1 in front of a server on 127.0.0.1.

    Attributes:
        target: The server's port.
        one_way_seconds: Delay of each direction.
        bits_per_second: Rate of each direction of a connection; 0 for no limit.
        loss: Share of the segments that are lost.
        port: The proxy's port.
    """

    target: int
    one_way_seconds: float = 0.0
    bits_per_second: float = 0.0
    loss: float = 0.0
    seed: int = 0
    port: int = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._alive = threading.Event()
        self._alive.set()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.bytes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Breaks all connections and accepts no others."""
        self._alive.clear()
        for connection in list(self._open):
            connection.close()

    def mend(self) -> None:
        """Accepts connections again."""
        self._alive.set()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if not self._alive.is_set():
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while self._alive.is_set():
                data = source.recv(16 * _SEGMENT_BYTES)
                if not data:
                    break
                self._delay(len(data))
                sink.sendall(data)
                self.bytes += len(data)
        except OSError:
            pass
        finally:
            for connection in (source, sink):
                self._open.discard(connection)
                connection.close()

    def _delay(self, size: int) -> None:
        seconds = self.one_way_seconds
        if self.bits_per_second:
            seconds += 8 * size / self.bits_per_second
        for _ in range(-(-size // _SEGMENT_BYTES)):
            if self._random.random() < self.loss:
                seconds += _RETRANSMISSION_SECONDS
        if seconds:
            time.sleep(seconds)
