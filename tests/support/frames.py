"""A scripted WebSocket peer over a raw socket: it sends any frame, right or wrong, and reads strict ones.

Used where a real client would not misbehave: conformance, bad input, peers that never answer. What it reads is
held to RFC 6455 5.1 and 5.2: server frames are unmasked, use no reserved bit and the shortest length form.
"""

import base64
import hashlib
import os
import struct
from dataclasses import dataclass

from support.web import RawConnection

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
DEFAULT_MASK = b"\x37\xfa\x21\x3d"


@dataclass
class Frame:
    opcode: int
    payload: bytes
    final: bool = True

    @property
    def code(self) -> int | None:
        """The code of a close frame; None when it carries none."""
        return struct.unpack(">H", self.payload[:2])[0] if self.payload else None

    @property
    def reason(self) -> str:
        return self.payload[2:].decode()


class PeerClosed(AssertionError):
    """The connection ended where a frame was awaited."""


def encode(opcode, payload=b"", *, final=True, reserved=0, mask=DEFAULT_MASK, length_form=None) -> bytes:
    """One frame. `mask=None` leaves it unmasked; `length_form` forces 7, 16 or 64 bits of length."""
    size = len(payload)
    form = length_form or (7 if size < 126 else 16 if size < 65536 else 64)
    masked = 0x80 if mask is not None else 0
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    if form == 7:
        head += bytes([masked | size])
    elif form == 16:
        head += bytes([masked | 126]) + struct.pack(">H", size)
    else:
        head += bytes([masked | 127]) + struct.pack(">Q", size)
    return head + (mask + apply_mask(payload, mask) if mask is not None else payload)


def apply_mask(payload: bytes, mask: bytes) -> bytes:
    if not payload:
        return b""
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")


def close_payload(code: int, reason: bytes = b"") -> bytes:
    return struct.pack(">H", code) + reason


def upgrade_request(target: str, key: str, headers: dict | None = None) -> bytes:
    fields = {
        "Host": "test",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
    } | (headers or {})
    lines = [f"GET {target} HTTP/1.1"] + [
        f"{name}: {value}" for name, value in fields.items() if value is not None
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def parse_frame(data: bytes) -> tuple[Frame, bytes] | None:
    if len(data) < 2:
        return None
    assert data[0] & 0x70 == 0, f"reserved bits in {data[:2]!r}"
    assert data[1] & 0x80 == 0, f"masked server frame {data[:2]!r}"
    opcode, size, start = data[0] & 0x0F, data[1] & 0x7F, 2
    assert opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG), f"opcode {opcode}"
    if size >= 126:
        width, form, least = (2, ">H", 126) if size == 126 else (8, ">Q", 65536)
        if len(data) < 2 + width:
            return None
        size, start = struct.unpack(form, data[2 : 2 + width])[0], 2 + width
        assert size >= least, "length not in its shortest form"
    if len(data) < start + size:
        return None
    return Frame(opcode, data[start : start + size], bool(data[0] & 0x80)), data[start + size :]


class ScriptedPeer(RawConnection):
    """A WebSocket connection after its handshake, driven frame by frame."""

    def __init__(
        self, port: int, target: str, *, first_frames: bytes = b"", headers: dict | None = None, **options
    ):
        super().__init__(port, **options)
        key = base64.b64encode(os.urandom(16)).decode()
        self.send(upgrade_request(target, key, headers) + first_frames)
        answer = self.reply()
        assert answer.status == 101, (answer.status, answer.body)
        expected = base64.b64encode(hashlib.sha1(key.encode() + ACCEPT_GUID).digest()).decode()
        assert answer.header("sec-websocket-accept") == expected
        assert answer.header("upgrade").lower() == "websocket"
        assert "upgrade" in {token.lower() for token in answer.tokens("connection")}
        self.handshake = answer

    def frame(self, opcode: int, payload: bytes = b"", **options) -> "ScriptedPeer":
        self.send_past_refusal(encode(opcode, payload, **options))
        return self

    def text(self, text: str | bytes) -> "ScriptedPeer":
        return self.frame(TEXT, text.encode() if isinstance(text, str) else text)

    def next(self) -> Frame:
        """The next frame of any kind; PeerClosed when the connection ends instead."""
        while (found := parse_frame(self.unread)) is None:
            try:
                received = self.socket.recv(1 << 20)
            except ConnectionResetError:
                received = b""
            if not received:
                raise PeerClosed(f"no frame, only {self.unread[:80]!r}")
            self.unread += received
        frame, self.unread = found
        return frame

    def message(self) -> Frame:
        """The next whole data message, joined from its fragments; control frames between them are dropped."""
        opcode, parts = None, b""
        while True:
            frame = self.next()
            if frame.opcode == CLOSE:
                raise PeerClosed(f"close {frame.code} {frame.reason}")
            if frame.opcode in (PING, PONG):
                continue
            assert (frame.opcode == CONTINUATION) == (opcode is not None), "fragment order"
            opcode = frame.opcode if opcode is None else opcode
            parts += frame.payload
            if frame.final:
                return Frame(opcode, parts)

    def close_frame(self) -> Frame:
        """The close frame, after whatever data still precedes it."""
        while (frame := self.next()).opcode != CLOSE:
            pass
        return frame

    def fails_with(self, *codes: int) -> Frame:
        """The server closes with one of `codes` and then ends the connection."""
        frame = self.close_frame()
        assert frame.code in codes, f"closed {frame.code} {frame.payload[2:]!r}, wanted {codes}"
        assert self.ends(), "the connection stays open after the close frame"
        return frame

    def leave(self) -> Frame:
        """Closes normally and answers the server's close frame."""
        self.frame(CLOSE, close_payload(1000))
        frame = self.close_frame()
        self.socket.close()
        return frame
