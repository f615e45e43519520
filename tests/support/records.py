"""TLS clients whose records a test can see, cut, and make itself.

`Memory` is OpenSSL in memory, with its bytes over a socket of the test's own. `Forger` is one that has agreed on TLS 1.2 with
ChaCha20-Poly1305 and then makes its own records with the session's keys: any kind, any length, right or wrong.
"""

import hashlib
import hmac
import socket
import ssl
import struct
import tempfile
from pathlib import Path

CHANGE_CIPHER, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
RECORD_BYTES = 1 << 14  # the longest plaintext of a record (RFC 8446 5.1)
WARNING, FATAL = 1, 2
CLOSE_NOTIFY, USER_CANCELED = 0, 90


class Memory:
    """A client whose ciphertext goes out in pieces: `cut` makes them of what is to be sent at one time."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext, cut=lambda data: [data], session=None):
        self.raw, self.cut = raw, cut
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing, self.received = ssl.MemoryBIO(), ssl.MemoryBIO(), b""
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost", session=session)

    def _step(self, act):
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                self._push()
                received = self.raw.recv(65536)
                self.received += received
                self.incoming.write(received) if received else self.incoming.write_eof()
            finally:
                self._push()

    def _push(self):
        if data := self.outgoing.read():
            for piece in self.cut(data):
                self.raw.sendall(piece)

    def handshake(self) -> "Memory":
        self._step(self.tls.do_handshake)
        return self

    def seal(self, data: bytes) -> bytes:
        """The record, or records, that say `data`, not sent yet."""
        self.tls.write(data)
        return self.outgoing.read()

    def send(self, data: bytes):
        self._step(lambda: self.tls.write(data))

    def receive(self) -> bytes:
        """Some plaintext; nothing after close_notify. ssl.SSLEOFError where the end comes without it."""
        try:
            return self._step(lambda: self.tls.read(65536))
        except ssl.SSLZeroReturnError:
            return b""

    def until_end(self) -> bytes:
        """All plaintext up to close_notify."""
        parts = []
        while part := self.receive():
            parts.append(part)
        return b"".join(parts)

    def until(self, count: int, mark: bytes) -> bytes:
        """All plaintext up to the `count`th `mark`."""
        data = b""
        while data.count(mark) < count:
            part = self.receive()
            assert part, (data[-200:], count)
            data += part
        return data


class Forger(Memory):
    """A client of TLS 1.2 that makes its records itself once hands are shaken; it reads with OpenSSL."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
        with tempfile.TemporaryDirectory() as folder:
            keys = Path(folder) / "keys"
            context.keylog_filename = str(keys)
            super().__init__(raw, context)
            self.handshake()
            line = next(line for line in keys.read_text().splitlines() if line.startswith("CLIENT_RANDOM"))
        client_random, master = (bytes.fromhex(word) for word in line.split()[1:])
        server_random = self.received[11:43]  # of the first record, which begins with ServerHello
        block = prf(master, b"key expansion", server_random + client_random, 88)
        self.key, self.vector = block[:32], block[64:76]
        self.number = 1  # Finished was the first that was encrypted

    def record(self, kind: int, plaintext: bytes) -> bytes:
        """The next record (RFC 5246 6.2.3.3, RFC 7905 2)."""
        head = struct.pack(">QBHH", self.number, kind, 0x0303, len(plaintext))
        nonce = bytes(a ^ b for a, b in zip(self.vector, bytes(4) + head[:8], strict=True))
        sealed = seal(self.key, nonce, plaintext, head)
        self.number += 1
        return struct.pack(">BHH", kind, 0x0303, len(sealed)) + sealed

    def say(self, kind: int, plaintext: bytes) -> "Forger":
        self.raw.sendall(self.record(kind, plaintext))
        return self


def prf(secret: bytes, label: bytes, seed: bytes, size: int) -> bytes:
    """RFC 5246 5, with SHA-256."""
    seed, data, block = label + seed, b"", label + seed
    while len(data) < size:
        block = hmac.digest(secret, block, hashlib.sha256)
        data += hmac.digest(secret, block + seed, hashlib.sha256)
    return data[:size]


def quarter(x: list[int], a: int, b: int, c: int, d: int):
    for left, right, far, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x[left] = (x[left] + x[right]) & 0xFFFFFFFF
        mixed = x[far] ^ x[left]
        x[far] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF


def chacha_block(key: bytes, nonce: bytes, counter: int) -> bytes:
    """RFC 8439 2.3."""
    start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter, *struct.unpack("<3I", nonce)]
    x = start[:]
    for _ in range(10):
        for at in range(4):
            quarter(x, at, at + 4, at + 8, at + 12)
        for at in range(4):
            quarter(x, at, (at + 1) % 4 + 4, (at + 2) % 4 + 8, (at + 3) % 4 + 12)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(x, start, strict=True)))


def poly1305(key: bytes, data: bytes) -> bytes:
    """RFC 8439 2.5."""
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(data), 16):
        total = (total + int.from_bytes(data[at : at + 16] + b"\x01", "little")) * r % ((1 << 130) - 5)
    return ((total + int.from_bytes(key[16:], "little")) & ((1 << 128) - 1)).to_bytes(16, "little")


def seal(key: bytes, nonce: bytes, plaintext: bytes, beside: bytes) -> bytes:
    """RFC 8439 2.8."""
    stream = b"".join(chacha_block(key, nonce, 1 + at) for at in range((len(plaintext) + 63) // 64))
    text = bytes(a ^ b for a, b in zip(plaintext, stream, strict=False))
    padded = b"".join(part + bytes(-len(part) % 16) for part in (beside, text))
    sizes = struct.pack("<QQ", len(beside), len(text))
    return text + poly1305(chacha_block(key, nonce, 0)[:32], padded + sizes)
