"""RFC 6455 5.6 and 8.1: text is UTF-8 over all fragments; what is not fails with 1007, and at once where possible."""

import pytest

from support.frames import CONTINUATION, PING, PONG, TEXT, encode

GREEK = "κόσμε".encode()

VALID = [
    b"",
    "Hello-µ@ßöäüàá-UTF-8!!".encode(),
    GREEK,
    *(chr(point).encode() for point in (
        0x00, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0x10FFFD, 0x10FFFE, 0x10FFFF,
        0x1FFFE, 0x1FFFF, 0x2FFFE, 0xFDD0, 0xFEFF)),
    b"\xef\xbb\xbf" + b"text after a mark",
    "😀".encode() * 1000,
]  # fmt: skip

INVALID = {
    "surrogate in text": GREEK + b"\xed\xa0\x80edited",
    "beyond the last point": GREEK + b"\xf4\x90\x80\x80edited",
    "lone continuation 80": b"\x80",
    "lone continuation BF": b"\xbf",
    "continuations": b"\x80\xbf\x80\xbf\x80\xbf",
    "all continuations": bytes(range(0x80, 0xC0)),
    "lead of two": b"\xc3 \xc4 ",
    "lead of three": b"\xe1 \xe2 ",
    "lead of four": b"\xf1 \xf2 ",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "F5": b"\xf5\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "FE FE FF FF": b"\xfe\xfe\xff\xff",
    "overlong slash of two": b"\xc0\xaf",
    "overlong slash of three": b"\xe0\x80\xaf",
    "overlong slash of four": b"\xf0\x80\x80\xaf",
    "overlong slash of five": b"\xf8\x80\x80\x80\xaf",
    "overlong slash of six": b"\xfc\x80\x80\x80\x80\xaf",
    "overlong of two, highest": b"\xc1\xbf",
    "overlong of three, highest": b"\xe0\x9f\xbf",
    "overlong of four, highest": b"\xf0\x8f\xbf\xbf",
    "overlong NUL of two": b"\xc0\x80",
    "overlong NUL of three": b"\xe0\x80\x80",
    "overlong NUL of four": b"\xf0\x80\x80\x80",
    "high surrogate D800": b"\xed\xa0\x80",
    "high surrogate DBFF": b"\xed\xaf\xbf",
    "low surrogate DC00": b"\xed\xb0\x80",
    "low surrogate DFFF": b"\xed\xbf\xbf",
    "surrogate pair": b"\xed\xa0\x80\xed\xb0\x80",
    "highest surrogate pair": b"\xed\xaf\xbf\xed\xbf\xbf",
    "truncated two": b"\xc2",
    "truncated three": b"\xe2\x82",
    "truncated four": b"\xf0\x9f\x98",
    "truncated, then text": b"\xe2\x82a",
    "valid text, then truncated": GREEK + b"\xce",
}


def send_in_pieces(peer, data: bytes, size: int):
    pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    for index, piece in enumerate(pieces):
        peer.frame(CONTINUATION if index else TEXT, piece, final=index == len(pieces) - 1)


@pytest.mark.parametrize("text", VALID, ids=range(len(VALID)))
@pytest.mark.parametrize("size", [1, 2, 3, 1 << 20])
def test_valid_text_is_echoed_however_it_is_split(peer, text, size):
    if len(text) // size > 400:
        size = 7
    send_in_pieces(peer, text, size)
    message = peer.message()
    assert (message.opcode, message.payload) == (TEXT, text)


@pytest.mark.parametrize("text", [*INVALID.values()], ids=[*INVALID])
@pytest.mark.parametrize("size", [1, 2, 3, 1 << 20])
def test_invalid_text_fails_with_1007_however_it_is_split(peer, text, size):
    send_in_pieces(peer, text, size)
    peer.fails_with(1007)


@pytest.mark.parametrize("text", [*INVALID.values()], ids=[*INVALID])
def test_invalid_text_in_segments_fails_with_1007(peer, text):
    for byte in encode(TEXT, text):
        peer.send_past_refusal(bytes([byte]))
    peer.fails_with(1007)


@pytest.mark.parametrize("bad", [b"\xff", b"\xc0", b"\xed\xa0", b"\xf4\x90", b"\xf5"])
def test_fragment_that_can_no_longer_be_valid_fails_before_the_message_ends(peer, bad):
    peer.frame(TEXT, GREEK, final=False).frame(CONTINUATION, bad, final=False)
    peer.fails_with(1007)


def test_ping_between_the_halves_of_a_character(peer):
    peer.frame(TEXT, b"\xf0\x9f", final=False).frame(PING, b"\xff").frame(CONTINUATION, b"\x98\x80")
    frame = peer.next()
    assert (frame.opcode, frame.payload) == (PONG, b"\xff")
    assert peer.message().payload == "😀".encode()


def test_empty_fragment_between_the_halves_of_a_character(peer):
    peer.frame(TEXT, b"\xe2", final=False).frame(CONTINUATION, b"", final=False).frame(
        CONTINUATION, b"\x82\xac"
    )
    assert peer.message().payload == "€".encode()


def test_state_of_one_message_does_not_leak_into_the_next(peer):
    assert peer.text("a€").message().payload == "a€".encode()
    peer.frame(TEXT, b"\x82\xac")
    peer.fails_with(1007)


def test_binary_is_not_checked(peer):
    payload = b"".join(INVALID.values())
    assert peer.frame(0x2, payload).message().payload == payload
