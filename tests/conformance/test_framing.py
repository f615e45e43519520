"""RFC 6455 5: lengths, pings and pongs, reserved bits, opcodes and fragmentation, over the echo socket."""

import os

import pytest

from support.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, ScriptedPeer, encode

LENGTHS = [0, 1, 2, 16, 125, 126, 127, 128, 255, 256, 65535, 65536, 65537, 131072, 1 << 20]
ECHO_BYTES_MAX = 16 << 20
RESERVED_OPCODES = [0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF]


class TestLengths:
    @pytest.mark.parametrize("length", LENGTHS)
    @pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
    def test_message_of_any_length_is_echoed(self, peer, opcode, length):
        payload = b"*" * length if opcode == TEXT else os.urandom(length)
        message = peer.frame(opcode, payload).message()
        assert (message.opcode, message.payload) == (opcode, payload)

    @pytest.mark.parametrize("length", [1, 125, 126, 127, 128, 65535, 65536])
    @pytest.mark.parametrize("chunk", [1, 997])
    def test_chopped_into_segments(self, peer, length, chunk):
        if length > 1000 and chunk == 1:
            chunk = 64
        data = encode(TEXT, b"*" * length)
        for start in range(0, len(data), chunk):
            peer.send(data[start : start + chunk])
        assert peer.message().payload == b"*" * length

    def test_largest_message_is_echoed(self, peer):
        payload = os.urandom(1 << 16) * (ECHO_BYTES_MAX >> 16)
        assert peer.frame(BINARY, payload).message().payload == payload

    def test_larger_message_is_1009(self, peer):
        peer.frame(BINARY, b"x" * (ECHO_BYTES_MAX + 1))
        peer.fails_with(1009)

    @pytest.mark.parametrize(
        "mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\x02\x03\x04", b"\x00\x00\x00\x01"]
    )
    @pytest.mark.parametrize("length", [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 127, 1021])
    def test_every_mask_and_remainder(self, peer, mask, length):
        payload = bytes(n % 251 for n in range(length))
        assert peer.frame(BINARY, payload, mask=mask).message().payload == payload

    def test_many_messages_in_one_segment_are_echoed_in_order(self, peer):
        texts = [b"%d" % n for n in range(500)]
        peer.send(b"".join(encode(TEXT, text) for text in texts))
        assert [peer.message().payload for _ in texts] == texts

    @pytest.mark.parametrize("length, form", [(1, 16), (1, 64), (125, 16), (126, 64), (65535, 64)])
    def test_length_not_in_its_shortest_form_is_understood_or_refused(self, peer, length, form):
        """RFC 6455 5.2 binds the sender to the shortest form and leaves the receiver free."""
        frame = peer.frame(TEXT, b"x" * length, length_form=form).next()
        assert frame.payload == b"x" * length or (frame.opcode, frame.code) == (CLOSE, 1002)

    def test_length_with_its_highest_bit_is_refused(self, peer):
        peer.send(b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x01\0\0\0\0")
        peer.fails_with(1002, 1009)

    def test_unmasked_frame_is_refused(self, peer):
        peer.frame(TEXT, b"x", mask=None)
        peer.fails_with(1002)


class TestPings:
    @pytest.mark.parametrize("payload", [b"", b"Hello", bytes(range(125)), b"\x00\xff\xfe\xfd"], ids=range(4))
    def test_ping_is_answered_with_its_payload(self, peer, payload):
        frame = peer.frame(PING, payload).next()
        assert (frame.opcode, frame.payload) == (PONG, payload)

    def test_ping_of_126_bytes_is_refused(self, peer):
        peer.frame(PING, b"x" * 126)
        peer.fails_with(1002)

    def test_ping_byte_by_byte(self, peer):
        for byte in encode(PING, b"p" * 125):
            peer.send(bytes([byte]))
        assert peer.next().payload == b"p" * 125

    def test_unsolicited_pongs_are_ignored(self, peer):
        peer.frame(PONG).frame(PONG, b"unasked").frame(PING, b"asked")
        assert peer.next().payload == b"asked"

    def test_ten_pings_are_answered_in_order(self, peer):
        peer.send(b"".join(encode(PING, b"%d" % n) for n in range(10)))
        assert [peer.next().payload for _ in range(10)] == [b"%d" % n for n in range(10)]


class TestReserved:
    @pytest.mark.parametrize("bits", range(1, 8))
    @pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
    def test_reserved_bits_are_refused(self, peer, opcode, bits):
        peer.frame(opcode, b"\x03\xe8" if opcode == CLOSE else b"x", reserved=bits)
        peer.fails_with(1002)

    @pytest.mark.parametrize("opcode", RESERVED_OPCODES)
    @pytest.mark.parametrize("payload", [b"", b"x"])
    def test_reserved_opcodes_are_refused(self, peer, opcode, payload):
        peer.frame(opcode, payload)
        peer.fails_with(1002)

    @pytest.mark.parametrize("opcode", [0x3, 0xB])
    def test_message_before_a_broken_frame_is_still_echoed(self, peer, opcode):
        peer.send(encode(TEXT, b"before") + encode(opcode, b"x") + encode(PING))
        assert peer.next().payload == b"before"
        peer.fails_with(1002)


class TestFragments:
    def test_two_fragments_are_one_message(self, peer):
        peer.frame(TEXT, b"frag", final=False).frame(CONTINUATION, b"ment")
        assert peer.message().payload == b"fragment"

    def test_empty_fragments(self, peer):
        peer.frame(TEXT, b"", final=False).frame(CONTINUATION, b"", final=False).frame(CONTINUATION, b"")
        assert peer.message().payload == b""
        peer.frame(TEXT, b"", final=False).frame(CONTINUATION, b"middle", final=False).frame(
            CONTINUATION, b""
        )
        assert peer.message().payload == b"middle"

    @pytest.mark.parametrize("size", [1, 64, 1024, 65536])
    def test_binary_in_fragments_of_any_size(self, peer, size):
        payload = os.urandom(size * 37)
        pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
        for index, piece in enumerate(pieces):
            peer.frame(CONTINUATION if index else BINARY, piece, final=index == len(pieces) - 1)
        message = peer.message()
        assert (message.opcode, message.payload) == (BINARY, payload)

    def test_pings_between_fragments_are_answered_at_once(self, peer):
        for number in range(5):
            peer.frame(CONTINUATION if number else TEXT, b"f%d" % number, final=False).frame(
                PING, b"p%d" % number
            )
            frame = peer.next()
            assert (frame.opcode, frame.payload) == (PONG, b"p%d" % number)
        peer.frame(CONTINUATION, b"end")
        assert peer.message().payload == b"f0f1f2f3f4end"

    def test_pongs_between_fragments_are_ignored(self, peer):
        peer.frame(TEXT, b"a", final=False).frame(PONG, b"x").frame(CONTINUATION, b"b")
        assert peer.message().payload == b"ab"

    @pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
    def test_fragmented_control_frame_is_refused(self, peer, opcode):
        peer.frame(opcode, b"\x03\xe8" if opcode == CLOSE else b"x", final=False)
        peer.fails_with(1002)

    @pytest.mark.parametrize("final", [True, False])
    @pytest.mark.parametrize("payload", [b"", b"non-continuation payload"])
    def test_continuation_of_nothing_is_refused(self, peer, final, payload):
        peer.frame(CONTINUATION, payload, final=final)
        peer.fails_with(1002)

    def test_continuation_after_a_whole_message_is_refused(self, peer):
        peer.text("whole").frame(CONTINUATION, b"x")
        assert peer.next().payload == b"whole"
        peer.fails_with(1002)

    @pytest.mark.parametrize("final", [True, False])
    @pytest.mark.parametrize("second", [TEXT, BINARY])
    def test_new_message_within_a_fragmented_one_is_refused(self, peer, second, final):
        peer.frame(TEXT, b"first", final=False).frame(second, b"second", final=final)
        peer.fails_with(1002)

    def test_close_within_a_fragmented_message_ends_it(self, peer):
        peer.frame(TEXT, b"first", final=False).frame(CLOSE, b"\x03\xe8")
        assert peer.fails_with(1000)

    def test_fragments_byte_by_byte_with_interleaved_control_frames(self, peer):
        data = (
            encode(TEXT, b"one", final=False) + encode(PING, b"1") + encode(CONTINUATION, b"two", final=False)
        )
        data += encode(PONG, b"x") + encode(PING, b"2") + encode(CONTINUATION, b"three")
        for byte in data:
            peer.send(bytes([byte]))
        assert [peer.next().payload for _ in range(3)] == [b"1", b"2", b"onetwothree"]

    def test_limit_holds_over_fragments(self, peer):
        for number in range(17):
            peer.frame(CONTINUATION if number else BINARY, b"x" * (1 << 20), final=False)
        peer.fails_with(1009)


def test_sockets_are_independent(echo_server):
    first, second = (ScriptedPeer(echo_server.port, "/echo") for _ in range(2))
    first.frame(TEXT, b"fir", final=False)
    assert second.text("second").message().payload == b"second"
    assert first.frame(CONTINUATION, b"st").message().payload == b"first"
    first.leave()
    second.leave()
