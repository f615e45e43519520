"""permessage-deflate (RFC 7692): agreed with real clients and by hand, both directions, bombs and garbage, off for others."""

import json
import os

import pytest

from support.clients import Driver
from support.deflate import OFFER, RSV1, DeflatePeer, compress, parameters
from support.frames import CONTINUATION, PING, TEXT, PeerClosed, ScriptedPeer, encode
from support.speakers import FreqSearch, Speaker
from support.web import Publisher

THRESHOLD_BYTES = 1024
MESSAGE_BYTES_MAX = 1 << 20
MIB = 1 << 20


def big(n: int, size: int = 4000) -> dict:
    return {"n": n, "fill": "abc" * (size // 3)}


def publish_text(hub, channel: str, size: int) -> bytes:
    """Publishes an event whose text has this many bytes."""
    text = b'{"x":"%s"}' % (b"y" * (size - 8))
    assert len(text) == size and hub.post(f"/publish/{channel}", text).status == 200
    return text


class TestNegotiation:
    def test_plain_offer_is_accepted_without_context_takeover(self, hub):
        peer = DeflatePeer(hub.port, "/ws/a")
        assert {"server_no_context_takeover", "client_no_context_takeover"} <= set(peer.agreed)
        assert set(peer.agreed.values()) == {None}

    @pytest.mark.parametrize("offer", [
        "permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits=10",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "x-webkit-deflate-frame, permessage-deflate", "permessage-deflate; unknown_thing, permessage-deflate",
        'permessage-deflate; client_max_window_bits="12"',
        "permessage-deflate; server_max_window_bits=12, permessage-deflate",
    ])  # fmt: skip
    def test_good_offers_are_accepted_and_work(self, hub, channel, offer):
        peer = DeflatePeer(hub.port, f"/ws/{channel}", offer=offer)
        assert peer.extensions is not None
        text = publish_text(hub, channel, 5000)
        assert peer.message().payload == text and peer.was_compressed

    @pytest.mark.parametrize("bits", [8, 9, 10, 15])
    def test_window_limit_for_the_server_is_kept_or_declined(self, hub, channel, bits):
        peer = DeflatePeer(hub.port, f"/ws/{channel}", offer=f"{OFFER}; server_max_window_bits={bits}")
        if peer.extensions is not None:
            assert peer.bits <= bits
        event = {"x": ["%06d" % (n * 7919 % 1_000_003) for n in range(2000)]}
        event["x"] += event["x"]  # repeats far apart: a larger window would reach back
        hub.publish(channel, event)
        assert json.loads(peer.message().payload) == event

    @pytest.mark.parametrize("offer", [
        "permessage-deflate; server_max_window_bits=7", "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=x", "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_no_context_takeover=1", "permessage-deflate; unknown_thing",
        "permessage-deflate; client_max_window_bits=3", "permessage-foo", "",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    ])  # fmt: skip
    def test_bad_offer_is_declined_and_the_socket_works_without(self, hub, channel, offer):
        peer = DeflatePeer(hub.port, f"/ws/{channel}", offer=offer)
        assert peer.extensions is None
        text = publish_text(hub, channel, 5000)
        assert peer.message().payload == text and not peer.was_compressed

    def test_who_does_not_ask_gets_none(self, hub, channel):
        peer, other = ScriptedPeer(hub.port, f"/ws/{channel}"), DeflatePeer(hub.port, f"/ws/{channel}")
        assert peer.handshake.header("sec-websocket-extensions") is None
        text = publish_text(hub, channel, 5000)
        assert peer.next().payload == text  # the strict reader refuses RSV1
        assert other.message().payload == text

    def test_switched_off_it_is_declined(self, start_courier):
        courier = start_courier({"compression.enabled": False})
        peer = DeflatePeer(courier.port, "/ws/a")
        assert peer.extensions is None
        text = publish_text(courier, "a", 5000)
        assert peer.message().payload == text


class TestToClients:
    def test_only_above_the_threshold(self, hub, channel):
        peer = DeflatePeer(hub.port, f"/ws/{channel}")
        for size in (20, THRESHOLD_BYTES - 100, 2 * THRESHOLD_BYTES, 500, 100_000):
            text = publish_text(hub, channel, size)
            assert peer.message().payload == text
            assert peer.was_compressed == (size > THRESHOLD_BYTES), size
            assert size < THRESHOLD_BYTES or peer.wire_bytes < size / 5

    def test_threshold_is_a_setting(self, start_courier):
        courier = start_courier({"compression.threshold": 50})
        peer = DeflatePeer(courier.port, "/ws/a")
        publish_text(courier, "a", 40)
        assert peer.message() and not peer.was_compressed
        publish_text(courier, "a", 400)
        assert peer.message() and peer.was_compressed

    def test_each_message_stands_alone(self, hub, channel):
        """No context takeover: a peer that joins late inflates its first message (the reader's context is fresh)."""
        peers = []
        for n in range(5):
            peers.append(DeflatePeer(hub.port, f"/ws/{channel}"))
            hub.publish(channel, big(n))
            for peer in peers:
                assert json.loads(peer.message().payload) == big(n) and peer.was_compressed

    def test_order_holds_between_compressed_and_plain(self, hub, channel):
        peers = [DeflatePeer(hub.port, f"/ws/{channel}") for _ in range(4)]
        for n in range(100):
            hub.publish(channel, big(n) if n % 3 == 0 else {"n": n})
        for peer in peers:
            assert [json.loads(peer.message().payload)["n"] for _ in range(100)] == list(range(100))

    def test_what_does_not_shrink_arrives_too(self, hub, channel):
        peer, event = DeflatePeer(hub.port, f"/ws/{channel}"), {"x": os.urandom(20_000).hex()}
        hub.publish(channel, event)
        assert json.loads(peer.message().payload) == event

    @pytest.mark.parametrize("path, headers, body_of", [
        ("/ws/events/{}", {}, lambda message: message),
        ("/ws/{}", {"Sec-WebSocket-Protocol": "courier.v1"}, lambda message: message["event"]),
        ("/api/v1/ws/events", {}, lambda message: message["data"]),
    ])  # fmt: skip
    def test_other_dialects(self, hub, channel, path, headers, body_of):
        peer = DeflatePeer(hub.port, path.format(channel), headers=headers)
        hub.publish(channel, big(7))
        while True:
            message = json.loads(peer.message().payload)
            if "abcabc" in json.dumps(message):
                break
        assert body_of(message) == big(7) and peer.was_compressed


class TestFromClients:
    @pytest.mark.parametrize("pieces", [1, 2, 7])
    def test_compressed_message_is_read(self, hub, channel, pieces):
        peer = DeflatePeer(hub.port, f"/ws/{channel}")
        message = json.dumps({"type": "hello", "fill": "abc" * 500, "random": os.urandom(200).hex()}).encode()
        answer = json.loads(peer.packed(message, pieces=pieces).message().payload)
        assert answer == {"type": "ack", "message_type": "hello", "size_bytes": len(message)}

    def test_control_frames_may_stand_between_fragments(self, hub, channel):
        peer, body = DeflatePeer(hub.port, f"/ws/{channel}"), compress(b'{"type":"ping"}')
        peer.frame(TEXT, body[:5], final=False, reserved=RSV1).frame(PING, b"x").frame(CONTINUATION, body[5:])
        assert json.loads(peer.message().payload) == {"type": "pong"}

    def test_uncompressed_messages_are_read_too(self, hub, channel):
        peer = DeflatePeer(hub.port, f"/ws/{channel}")
        for n in range(10):
            assert (peer.text("ping") if n % 2 else peer.packed(b"ping")).message().payload == b"pong"

    def test_empty_message_and_stored_blocks(self, hub, channel):
        peer = DeflatePeer(hub.port, f"/ws/{channel}")
        assert json.loads(peer.packed(b"").message().payload)["type"] == "error"
        peer.frame(TEXT, compress(b'{"type":"ping"}', level=0), reserved=RSV1)
        assert json.loads(peer.message().payload) == {"type": "pong"}
        peer.frame(TEXT, bytes.fromhex("f248cdc9c90700"), reserved=RSV1)  # RFC 7692 7.2.3.1: "Hello"
        assert json.loads(peer.message().payload)["type"] == "error"

    def test_message_at_the_limit_is_read_and_longer_closes_1009(self, hub, channel):
        peer = DeflatePeer(hub.port, f"/ws/{channel}")
        message = b'{"a":"%s"}' % (b"x" * (MESSAGE_BYTES_MAX - 8))
        assert json.loads(peer.packed(message).message().payload)["size_bytes"] == MESSAGE_BYTES_MAX
        peer.packed(message + b" ").fails_with(1009)

    @pytest.mark.parametrize("pieces", [1, 50])
    def test_bomb_closes_1009_and_costs_little(self, hub, channel, pieces):
        bystander, before = Speaker(hub.port, f"/ws/{channel}"), hub.resident_bytes()
        bomb = bytes(200 * MIB)
        for _ in range(3):
            peer = DeflatePeer(hub.port, f"/ws/{channel}.x")
            peer.packed(bomb, pieces=pieces).fails_with(1009)
        assert hub.resident_bytes() - before < 32 * MIB
        bystander.gets_only(hub, channel)

    @pytest.mark.parametrize("dialect", ["/api/v1/ws/events"])
    def test_limit_of_the_dialect_counts_inflated_bytes(self, hub, channel, dialect):
        DeflatePeer(hub.port, dialect).packed(b"x" * 5000).fails_with(1009)
        assert FreqSearch(hub.port).ask("ping") == "pong"

    @pytest.mark.parametrize("garbage", [b"\xff" * 50, b"\x07", os.urandom(3) + b"\xfe" * 100, b"\x05\xff\xff\xff"], ids=range(4))
    def test_garbage_closes_and_harms_nobody(self, hub, channel, garbage):
        bystander, peer = Speaker(hub.port, f"/ws/{channel}"), DeflatePeer(hub.port, f"/ws/{channel}.x")
        peer.frame(TEXT, garbage, reserved=RSV1).fails_with(1002, 1003, 1007)
        bystander.gets_only(hub, channel)

    def test_invalid_utf_8_inside_closes_1007(self, hub, channel):
        DeflatePeer(hub.port, f"/ws/{channel}").packed(b'{"a":"\xc3\x28"}').fails_with(1007)

    @pytest.mark.parametrize("frames", [
        encode(TEXT, compress(b"ping"), reserved=2), encode(TEXT, compress(b"ping"), reserved=1),
        encode(PING, b"x", reserved=RSV1),
        encode(TEXT, compress(b"ping")[:2], final=False, reserved=RSV1) + encode(CONTINUATION, compress(b"ping")[2:], reserved=RSV1),
    ], ids=["RSV2", "RSV3", "on a ping", "on a continuation"])  # fmt: skip
    def test_reserved_bits_in_the_wrong_place_close_1002(self, hub, channel, frames):
        peer = DeflatePeer(hub.port, f"/ws/{channel}")
        peer.send_past_refusal(frames).fails_with(1002)

    def test_rsv1_without_agreement_closes_1002(self, hub, channel):
        peer = ScriptedPeer(hub.port, f"/ws/{channel}")
        peer.frame(TEXT, compress(b"ping"), reserved=RSV1).fails_with(1002)


class TestRealClients:
    async def test_python_websockets(self, hub, channel, clients):
        socket = await clients.python(hub.socket_url(f"/ws/{channel}"), compression="deflate")
        agreed = socket.connection.response.headers["Sec-WebSocket-Extensions"]
        assert "server_no_context_takeover" in parameters(agreed)
        await self.check(hub, channel, socket)

    async def test_node_ws(self, hub, channel):
        node = await Driver.start("ws_deflate.mjs")
        try:
            socket = await node.open(hub.socket_url(f"/ws/{channel}"))
            assert "permessage-deflate" in json.loads(socket.messages.pop(0))["extensions"]
            await self.check(hub, channel, socket)
        finally:
            await node.stop()

    async def test_chromium(self, hub, channel, clients):
        chromium = await clients.chromium(f"http://127.0.0.1:{hub.port}/health")
        await self.check(hub, channel, await chromium.open(hub.socket_url(f"/ws/{channel}")))

    async def check(self, hub, channel: str, socket):
        """Both directions, small and large, in order."""
        sent = [big(n, 30 if n % 2 else 9000) for n in range(40)]
        for event in sent:
            hub.publish(channel, event)
        await socket.until(40)
        assert [json.loads(text) for text in socket.messages] == sent
        for n, size in enumerate((10, 3000, 100_000)):
            message = json.dumps({"type": "hello", "fill": "xyz" * (size // 3)})
            await socket.send(message)
            await socket.until(41 + n)
            answer = {"type": "ack", "message_type": "hello", "size_bytes": len(message)}
            assert json.loads(socket.messages[-1]) == answer

    @pytest.mark.serial
    async def test_many_compressed_and_plain_sockets_get_the_same(self, hub, channel, clients):
        packed = [await clients.python(hub.socket_url(f"/ws/{channel}"), compression="deflate") for _ in range(20)]
        plain = await clients.many(hub.socket_url(f"/ws/{channel}"), 20)
        publisher = await Publisher.open(hub.port)
        for n in range(150):
            assert (await publisher.publish(channel, big(n, 3000)))["clients_reached"] == 40
            if n % 50 == 49:
                for socket in [*packed, *plain]:
                    await socket.until(n + 1)
        for socket in [*packed, *plain]:
            assert socket.events() == [big(n, 3000) for n in range(150)]


def test_stalled_compressed_reader_is_cut_like_any_other(start_courier):
    courier = start_courier()
    peer = DeflatePeer(courier.port, "/ws/a", receive_buffer=4096)
    for n in range(3000):
        if courier.publish("a", {"n": n, "x": os.urandom(6000).hex()})["clients_reached"] == 0:
            break
    else:
        raise AssertionError("never cut")
    numbers = []
    try:
        while True:
            numbers.append(json.loads(peer.message().payload)["n"])
    except (PeerClosed, ConnectionResetError):
        assert numbers == list(range(len(numbers)))
