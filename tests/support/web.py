"""HTTP over sockets: a raw connection for scripted bytes, one-shot requests, and an asynchronous publisher.

Every wait has a bound, so that a server that stays silent fails a test within seconds.
"""

import asyncio
import contextlib
import json
import socket
import struct
import weakref

from support import replies
from support.replies import Reply

REPLY_SECONDS = 10
RECEIVE_BYTES = 65536
EVENT = b'{"n":1}'


class RawConnection:
    """One TCP connection on which a test writes any bytes it likes and reads strict replies."""

    alive: "weakref.WeakSet[RawConnection]" = weakref.WeakSet()

    def __init__(
        self, port: int, *, receive_buffer: int | None = None, timeout: float = REPLY_SECONDS, context=None
    ):
        self.port = port
        self.socket = socket.socket()
        self.alive.add(self)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.unread = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    @classmethod
    def close_all(cls, port: int, *, but: "RawConnection | None" = None):
        """Closes what a test left open to this server, so that nothing waits for it."""
        for connection in list(cls.alive):
            if connection.port == port and connection is not but:
                connection.socket.close()

    def send(self, *parts: bytes) -> "RawConnection":
        for part in parts:
            self.socket.sendall(part)
        return self

    def send_past_refusal(self, data: bytes) -> "RawConnection":
        """Sends what the server may refuse half-way: it may close before all is taken."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)
        return self

    def reset(self):
        """Ends the connection with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def reply(self, method: str = "GET") -> Reply:
        """The next reply; `method` tells how its body is framed."""
        while (found := replies.parse(self.unread, method=method)) is None:
            received = self.socket.recv(RECEIVE_BYTES)
            assert received, f"closed within a reply: {self.unread[:200]!r}"
            self.unread += received
        answer, self.unread = found
        return answer

    def ends(self) -> bool:
        """True when the server closes without another byte; False when it sends one or stays for the timeout."""
        try:
            return not self.unread and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def drain(self) -> bytes:
        """All bytes until the server closes or resets."""
        data, self.unread = self.unread, b""
        try:
            while received := self.socket.recv(RECEIVE_BYTES):
                data += received
        except ConnectionResetError:
            pass
        return data


def encode_request(method: str, target: str, body: bytes | None = None, headers: dict | None = None) -> bytes:
    """A plain HTTP/1.1 request with a Content-Length when there is a body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: test"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def encode_publish(channel: str, body: bytes = EVENT, extra: bytes = b"") -> bytes:
    """A publish of a whole body, with `extra` field lines."""
    head = b"POST /publish/%s HTTP/1.1\r\nHost: test\r\n%sContent-Length: %d\r\n\r\n"
    return head % (channel.encode(), extra, len(body)) + body


def encode_chunked(channel: str, chunks: bytes, trailers: bytes = b"") -> bytes:
    """A publish whose body comes in the given chunks; the last one is added."""
    head = b"POST /publish/%s HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n" % channel.encode()
    return head + chunks + b"0\r\n" + trailers + b"\r\n"


def request(
    port: int, method: str, target: str, body: bytes | None = None, headers: dict | None = None
) -> Reply:
    with RawConnection(port) as connection:
        connection.send_past_refusal(encode_request(method, target, body, headers))
        return connection.reply(method)


class Publisher:
    """A keep-alive connection that publishes one event after another and awaits each answer."""

    @classmethod
    async def open(cls, port: int) -> "Publisher":
        publisher = cls()
        publisher.reader, publisher.writer = await asyncio.open_connection("127.0.0.1", port)
        publisher.unread = b""
        return publisher

    async def send(
        self, method: str, target: str, body: bytes | None = None, headers: dict | None = None
    ) -> Reply:
        self.writer.write(encode_request(method, target, body, headers))
        return await asyncio.wait_for(self.receive(), REPLY_SECONDS)

    async def receive(self) -> Reply:
        while (found := replies.parse(self.unread)) is None:
            received = await self.reader.read(RECEIVE_BYTES)
            if not received:
                raise ConnectionResetError("closed before the answer")
            self.unread += received
        answer, self.unread = found
        return answer

    async def publish(self, channel: str, event: dict | bytes) -> dict:
        """Publishes and answers the body of the 200; anything else fails the test."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        answer = await self.send("POST", f"/publish/{channel}", body)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json()

    def close(self):
        self.writer.close()
