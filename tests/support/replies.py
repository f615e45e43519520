"""A strict reader of HTTP/1.1 replies (RFC 9112) over bytes; used by the raw connection and by the publishers.

It accepts only what a server may send: CRLF line ends, one valid Content-Length or chunked coding. A reply that breaks
the grammar fails the test that reads it. It knows no socket.
"""

import json
import re
from dataclasses import dataclass, field

STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) [\t\x20-\x7e\x80-\xff]*\Z")
FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00\r\n]*?)[ \t]*\Z")


class BadReply(AssertionError):
    """The server sent bytes that are no HTTP reply."""


@dataclass
class Reply:
    status: int
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """All values of a field, joined as RFC 9110 5.3 says; None when it is absent."""
        values = [value for key, value in self.fields if key == name.lower()]
        return ", ".join(values) if values else None

    def tokens(self, name: str) -> set[str]:
        return {token.strip() for token in (self.header(name) or "").split(",") if token.strip()}

    def json(self):
        return json.loads(self.body)

    @property
    def detail(self) -> dict:
        """The `detail` object of an error (contract 3.3), with its two fixed members checked."""
        detail = self.json()["detail"]
        assert isinstance(detail["error"], str) and detail["error"], self.body
        assert isinstance(detail["message"], str) and detail["message"], self.body
        return detail


def parse(data: bytes, *, method: str = "GET") -> tuple[Reply, bytes] | None:
    """The first reply in `data` and what follows it; None while it is incomplete."""
    head, mark, rest = data.partition(b"\r\n\r\n")
    if not mark:
        return None
    reply = _parse_head(head)
    if method == "HEAD" or reply.status in (204, 304) or reply.status < 200:
        return reply, rest
    coding = reply.header("transfer-encoding")
    length = reply.header("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise BadReply(f"framing of {head!r}")
        taken = _parse_chunks(rest)
    else:
        if length is None or not re.fullmatch("[0-9]+", length):
            raise BadReply(f"no length in {head!r}")
        taken = (rest[: int(length)], rest[int(length) :]) if len(rest) >= int(length) else None
    if taken is None:
        return None
    reply.body, rest = taken
    return reply, rest


def _parse_head(head: bytes) -> Reply:
    lines = head.split(b"\r\n")
    status = STATUS_LINE.match(lines[0])
    if not status:
        raise BadReply(f"status line {lines[0]!r}")
    reply = Reply(int(status[1]))
    for line in lines[1:]:
        found = FIELD_LINE.match(line)
        if not found:
            raise BadReply(f"field line {line!r}")
        reply.fields.append((found[1].decode("ascii").lower(), found[2].decode("latin-1")))
    return reply


def _parse_chunks(data: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while True:
        line, mark, data = data.partition(b"\r\n")
        if not mark:
            return None
        size = int(line.split(b";")[0], 16)
        if len(data) < size + 2:
            return None
        if data[size : size + 2] != b"\r\n":
            raise BadReply(f"chunk end {data[size : size + 2]!r}")
        if size == 0:
            return body, data[2:]
        body, data = body + data[:size], data[size + 2 :]
