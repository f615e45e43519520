"""RFC 6455 5.5.1 and 7: the closing handshake, its codes and its reasons, over the echo socket."""

import contextlib

import pytest

from support.frames import CLOSE, PING, TEXT, PeerClosed, close_payload, encode

VALID_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
INVALID_CODES = [0, 1, 500, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", VALID_CODES)
def test_valid_code_is_echoed(peer, code):
    peer.frame(CLOSE, close_payload(code))
    peer.fails_with(code, 1000)


@pytest.mark.parametrize("code", INVALID_CODES)
@pytest.mark.parametrize("reason", [b"", b"with a reason"])
def test_invalid_code_is_1002(peer, code, reason):
    peer.frame(CLOSE, close_payload(code, reason))
    peer.fails_with(1002)


def test_close_without_a_code_is_answered(peer):
    peer.frame(CLOSE)
    assert peer.fails_with(None, 1000).payload in (b"", b"\x03\xe8")


def test_close_payload_of_one_byte_is_1002(peer):
    peer.frame(CLOSE, b"\x03")
    peer.fails_with(1002)


def test_longest_reason_is_taken(peer):
    peer.frame(CLOSE, close_payload(1000, b"x" * 123))
    peer.fails_with(1000)


def test_longer_reason_is_1002(peer):
    peer.frame(CLOSE, close_payload(1000, b"x" * 124))
    peer.fails_with(1002)


@pytest.mark.parametrize(
    "reason", [b"\xff", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80", b"\xe2\x82"]
)
def test_reason_that_is_no_utf8_is_1007(peer, reason):
    peer.frame(CLOSE, close_payload(1000, reason))
    peer.fails_with(1007)


def test_messages_before_the_close_are_echoed_and_those_after_are_not(peer):
    peer.send(
        encode(TEXT, b"before") + encode(CLOSE, close_payload(1000)) + encode(TEXT, b"after") + encode(PING)
    )
    assert peer.next().payload == b"before"
    peer.fails_with(1000)


def test_second_close_is_not_answered(peer):
    peer.send(encode(CLOSE, close_payload(1000)) * 2)
    peer.fails_with(1000)


def test_server_ends_the_connection_first(peer):
    """RFC 6455 7.1.1: the server closes TCP first, so that the client holds no TIME_WAIT."""
    peer.frame(CLOSE, close_payload(1000))
    assert peer.close_frame().code == 1000
    assert peer.ends()


def test_end_of_stream_without_a_close_is_tolerated(peer):
    peer.text("x")
    assert peer.message().payload == b"x"
    peer.socket.shutdown(1)
    with contextlib.suppress(PeerClosed):
        assert peer.next().opcode == CLOSE


def test_end_of_stream_within_a_frame_is_tolerated(peer):
    peer.send(encode(TEXT, b"half a frame")[:7])
    peer.socket.shutdown(1)
    peer.drain()
