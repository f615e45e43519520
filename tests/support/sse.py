"""A strict reader of server-sent events (the event stream format of the HTML standard) over a raw connection.

It keeps comments, `retry` and the raw bytes, so that a test sees what a browser hides.
"""

import json
from dataclasses import dataclass, field

from support import replies
from support.replies import Reply
from support.web import RECEIVE_BYTES, RawConnection


@dataclass
class Sent:
    """One dispatched event: `kind` is `message` where the server named none."""

    data: str
    kind: str = "message"
    id: str = ""

    def json(self) -> dict:
        return json.loads(self.data)


@dataclass
class _Block:
    data: list[str] = field(default_factory=list)
    kind: str = ""


class EventStream(RawConnection):
    """A GET whose answer is read event by event. `head` is the answer's head, whatever its status."""

    def __init__(self, port: int, target: str, headers: dict | None = None, *, version="1.1", **options):
        super().__init__(port, **options)
        fields = {"Host": "test", "Accept": "text/event-stream"} | (headers or {})
        lines = [f"GET {target} HTTP/{version}"] + [f"{name}: {value}" for name, value in fields.items()]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n")
        self.lines: list[str] = []
        self.partial = b""
        self.comments: list[str] = []
        self.retry: int | None = None
        self.last_id = ""
        self.block = _Block()
        self.head = self._read_head()
        self.chunked = (self.head.header("transfer-encoding") or "").lower() == "chunked"
        self.ended = False

    def _read_head(self) -> Reply:
        while b"\r\n\r\n" not in self.unread:
            self._receive()
        reply, self.unread = replies.parse(self.unread, method="HEAD")  # the body is read piece by piece
        return reply

    def _receive(self):
        received = self.socket.recv(RECEIVE_BYTES)
        if not received:
            raise EOFError("the stream ended")
        self.unread += received

    def _more(self) -> bytes:
        """The next piece of the body; EOFError at its end."""
        assert self.head.status == 200, f"no stream but {self.head.status}"
        if not self.chunked:
            if not self.unread:
                self._receive()
            data, self.unread = self.unread, b""
            return data
        while b"\r\n" not in self.unread:
            self._receive()
        line, _, rest = self.unread.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        while len(rest) < size + 2:
            self._receive()
            rest = self.unread[len(line) + 2 :]
        assert rest[size : size + 2] == b"\r\n", "chunk end"
        self.unread = rest[size + 2 :]
        if size == 0:
            raise EOFError("the stream ended with its last chunk")
        return rest[:size]

    def _line(self) -> str:
        """The next line; lines end with LF, CR or CRLF."""
        while not self.lines:
            text = self.partial + self._more()
            while text.endswith(b"\r"):
                text += self._more()
            pieces = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
            self.partial = pieces.pop()
            self.lines = [piece.decode() for piece in pieces]
        return self.lines.pop(0)

    def step(self) -> Sent | None:
        """Reads one line; answers an event when the line dispatches one."""
        line = self._line()
        if line == "":
            return self._dispatch()
        name, mark, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "" and mark:
            self.comments.append(value)
        elif name == "data":
            self.block.data.append(value)
        elif name == "event":
            self.block.kind = value
        elif name == "id":
            assert "\0" not in value
            self.last_id = value
        elif name == "retry":
            self.retry = int(value)
        else:
            raise AssertionError(f"field {name!r} is none of the standard's")
        return None

    def _dispatch(self) -> Sent | None:
        block, self.block = self.block, _Block()
        if not block.data:
            return None
        return Sent("\n".join(block.data), block.kind or "message", self.last_id)

    def event(self) -> Sent:
        while (sent := self.step()) is None:
            pass
        return sent

    def events(self, count: int) -> list[Sent]:
        return [self.event() for _ in range(count)]

    def comment(self, number: int) -> str:
        """Waits for the comment with this number, the first being 0."""
        while len(self.comments) <= number:
            assert self.step() is None, "an event where only comments were awaited"
        return self.comments[number]

    def gets_only(self, courier, channel: str, *expected: dict):
        """These events are waiting and no other: an event published now comes right behind them."""
        marker = {"type": "marker", "marker": True}
        courier.publish(channel, marker)
        assert [sent.json() for sent in self.events(len(expected) + 1)] == [*expected, marker]

    def end(self) -> list[Sent]:
        """What is left until the server ends the stream."""
        rest = []
        try:
            while True:
                sent = self.step()
                rest += [sent] if sent else []
        except (EOFError, ConnectionResetError):
            return rest
