"""A scripted peer that negotiates permessage-deflate (RFC 7692) and sends and reads compressed frames by hand."""

import zlib

from support.frames import CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, PeerClosed, ScriptedPeer, encode, parse_frame

RSV1 = 4  # as `encode` counts the reserved bits
RSV1_BIT = 0x40
TAIL = b"\x00\x00\xff\xff"  # RFC 7692 7.2.1: what a sender cuts off and a receiver puts back
OFFER = "permessage-deflate"


def compress(data: bytes, *, bits: int = 15, level: int = 6) -> bytes:
    """One message, compressed as RFC 7692 7.2.1 says."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -bits)
    packed = packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert packed.endswith(TAIL)
    return packed[:-4]


def inflate(data: bytes, *, bits: int = 15) -> bytes:
    return zlib.decompressobj(-bits).decompress(data + TAIL)


def parameters(header: str | None) -> dict[str, str | None]:
    """The parameters of a single accepted extension."""
    assert header is not None and "," not in header, header
    name, *rest = [part.strip() for part in header.split(";")]
    assert name == OFFER, header
    found = {}
    for part in rest:
        key, mark, value = part.partition("=")
        assert key not in found, f"{key} twice in {header!r}"
        found[key] = value.strip('"') if mark else None
    return found


class DeflatePeer(ScriptedPeer):
    """Offers an extension and reads frames with RSV1. A compressed message is inflated by a fresh context."""

    def __init__(self, port: int, target: str, *, offer: str = OFFER, headers: dict | None = None, **options):
        self.compressed_messages = 0
        super().__init__(port, target, headers={"Sec-WebSocket-Extensions": offer} | (headers or {}), **options)
        self.extensions = self.handshake.header("sec-websocket-extensions")
        self.bits = 15
        if self.extensions is not None:
            self.agreed = parameters(self.extensions)
            self.bits = int(self.agreed.get("server_max_window_bits") or 15)

    def next(self) -> Frame:
        while not self._head_is_there():
            received = self.socket.recv(1 << 20)
            if not received:
                raise PeerClosed(f"no frame, only {self.unread[:80]!r}")
            self.unread += received
        self.first_byte = self.unread[0]
        if self.first_byte & RSV1_BIT:
            assert self.extensions is not None, "RSV1 without an extension"
            assert self.first_byte & 0x0F not in (CONTINUATION, CLOSE, PING, PONG), "RSV1 on the wrong frame"
            self.unread = bytes([self.first_byte & ~RSV1_BIT]) + self.unread[1:]
        return super().next()

    def _head_is_there(self) -> bool:
        """A whole frame, whatever its reserved bit, so that the bit is cleared once."""
        return bool(self.unread) and parse_frame(bytes([self.unread[0] & ~RSV1_BIT]) + self.unread[1:]) is not None

    def message(self) -> Frame:
        """The next message, inflated when it came compressed."""
        compressed, opcode, parts = False, None, b""
        while True:
            frame = self.next()
            if frame.opcode == CLOSE:
                raise PeerClosed(f"close {frame.code} {frame.reason}")
            if frame.opcode in (PING, PONG):
                continue
            if opcode is None:
                opcode, compressed = frame.opcode, bool(self.first_byte & RSV1_BIT)
            parts += frame.payload
            if frame.final:
                self.compressed_messages += compressed
                self.was_compressed = compressed
                self.wire_bytes = len(parts)
                return Frame(opcode, inflate(parts, bits=self.bits) if compressed else parts)

    def packed(self, data: bytes, *, pieces: int = 1) -> "DeflatePeer":
        """Sends a compressed text message, over `pieces` frames: RSV1 stands on the first only."""
        body = compress(data)
        size = -(-len(body) // pieces)
        parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
        frames = [
            encode(TEXT if n == 0 else CONTINUATION, part, final=n == len(parts) - 1, reserved=RSV1 if n == 0 else 0)
            for n, part in enumerate(parts)
        ]
        self.send_past_refusal(b"".join(frames))
        return self
