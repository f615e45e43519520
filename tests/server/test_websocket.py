"""The dialect `courier` on `/ws` and `/ws/{channel}` (contract 4, 15): words, limits, heartbeats, closes."""

import asyncio
import json

import pytest

from support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    PeerClosed,
    ScriptedPeer,
    encode,
    upgrade_request,
)
from support.process import wait_until
from support.web import RawConnection

MESSAGE_BYTES_MAX = 1 << 20
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 1.3
SECOND_BEATS_SECONDS = 3.5  # two heartbeats of one second, and scheduling


@pytest.fixture
def peer(hub, channel):
    peer = ScriptedPeer(hub.port, f"/ws/{channel}")
    yield peer
    peer.socket.close()


def answer_to(peer: ScriptedPeer, message: str | bytes) -> dict:
    return json.loads(peer.text(message).message().payload)


class TestWords:
    def test_there_is_no_welcome(self, peer):
        assert peer.text("ping").next().payload == b"pong"

    def test_text_ping_is_answered_by_text_pong(self, peer):
        assert peer.text("ping").message().payload == b"pong"

    @pytest.mark.parametrize("ping", ['{"type":"ping"}', ' { "type" : "ping" } ', '{"id":1,"type":"ping"}'])
    def test_json_ping_is_answered_by_json_pong(self, peer, ping):
        assert answer_to(peer, ping) == {"type": "pong"}

    def test_pong_is_answered_by_nothing(self, peer):
        peer.text('{"type":"pong"}').text("ping")
        assert peer.message().payload == b"pong"

    def test_protocol_ping_is_answered_with_its_payload(self, peer):
        peer.frame(PING, b"some bytes")
        frame = peer.next()
        assert (frame.opcode, frame.payload) == (PONG, b"some bytes")

    @pytest.mark.parametrize(
        "message, kind",
        [
            ('{"type":"hello"}', "hello"),
            ('{"n":1}', None),
            ("{}", None),
            ('{"type":"grüße", "x":[1,2]}', "grüße"),
        ],
    )
    def test_any_other_object_is_acknowledged(self, peer, message, kind):
        size = len(message.encode())
        assert answer_to(peer, message) == {"type": "ack", "message_type": kind, "size_bytes": size}

    @pytest.mark.parametrize(
        "message", ["nonsense", "[1]", '"text"', "5", "null", "{", "", '{"a":1}{', "pong!", "PING"]
    )
    def test_what_is_no_object_is_a_validation_error_and_the_socket_stays(self, peer, message):
        error = answer_to(peer, message)
        assert (error["type"], error["code"]) == ("error", "VALIDATION_ERROR")
        assert error["message"]
        assert error["errors"] and all(isinstance(text, str) and text for text in error["errors"])
        assert peer.text("ping").message().payload == b"pong"

    def test_client_messages_reach_no_one_else(self, hub, channel, peer):
        other = ScriptedPeer(hub.port, f"/ws/{channel}")
        assert answer_to(peer, '{"type":"chat","text":"secret"}')["type"] == "ack"
        assert other.text("ping").message().payload == b"pong"


class TestSubscriptions:
    def test_subscribe_really_subscribes(self, hub, channel, peer):
        more = channel + ".more"
        assert answer_to(peer, json.dumps({"type": "subscribe", "channel": more})) == {
            "type": "subscribed",
            "channel": more,
        }
        assert hub.publish(more, {"n": 1})["clients_reached"] == 1
        assert json.loads(peer.message().payload) == {"n": 1}
        assert hub.publish(channel, {"n": 2})["clients_reached"] == 1
        assert json.loads(peer.message().payload) == {"n": 2}

    def test_unsubscribe_really_unsubscribes(self, hub, channel, peer):
        assert answer_to(peer, json.dumps({"type": "unsubscribe", "channel": channel})) == {
            "type": "unsubscribed", "channel": channel}  # fmt: skip
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 0
        assert peer.text("ping").message().payload == b"pong"

    def test_socket_without_a_channel_subscribes_by_command(self, hub, channel):
        peer = ScriptedPeer(hub.port, "/ws")
        for number in range(8):
            assert (
                answer_to(peer, json.dumps({"type": "subscribe", "channel": f"{channel}.{number}"}))["type"]
                == "subscribed"
            )
        for number in range(8):
            assert hub.publish(f"{channel}.{number}", {"n": number})["clients_reached"] == 1
            assert json.loads(peer.message().payload) == {"n": number}
        peer.leave()

    def test_subscribing_twice_delivers_once(self, hub, channel, peer):
        answer_to(peer, json.dumps({"type": "subscribe", "channel": channel}))
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 1
        assert json.loads(peer.message().payload) == {"n": 1}
        assert peer.text("ping").message().payload == b"pong"

    def test_the_last_of_many_commands_in_one_segment_holds(self, hub, channel):
        peer, names = ScriptedPeer(hub.port, "/ws"), [f"{channel}.{number}" for number in range(8)]
        commands = ["subscribe", "unsubscribe"] * 20 + ["subscribe"]
        orders = [json.dumps({"type": command, "channel": name}) for command in commands for name in names]
        peer.send(b"".join(encode(TEXT, order.encode()) for order in orders))
        answers = [json.loads(peer.message().payload) for _ in orders]
        for name in names:
            told = [answer["type"] for answer in answers if answer["channel"] == name]
            assert told == [command + "d" for command in commands]
            assert hub.publish(name, {"to": name})["clients_reached"] == 1
            assert json.loads(peer.message().payload) == {"to": name}
        peer.leave()

    def test_unsubscribing_from_what_was_never_subscribed_keeps_the_socket(self, peer, channel):
        answer_to(peer, json.dumps({"type": "unsubscribe", "channel": channel + ".never"}))
        assert peer.text("ping").message().payload == b"pong"

    @pytest.mark.parametrize("name", ["a b", "", "x" * 101, 5, None, ["a"], "a/b"])
    @pytest.mark.parametrize("command", ["subscribe", "unsubscribe"])
    def test_bad_name_in_a_command_is_an_error_and_the_socket_stays(self, peer, command, name):
        assert answer_to(peer, json.dumps({"type": command, "channel": name}))["type"] == "error"
        assert peer.text("ping").message().payload == b"pong"

    def test_command_without_a_channel_is_an_error(self, peer):
        assert answer_to(peer, '{"type":"subscribe"}')["type"] == "error"

    def test_subscribed_channel_is_free_again_after_the_socket_left(self, hub, channel):
        peer = ScriptedPeer(hub.port, "/ws")
        answer_to(peer, json.dumps({"type": "subscribe", "channel": channel}))
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 1
        peer.reset()
        wait_until(
            lambda: hub.publish(channel, {"n": 2})["clients_reached"] == 0,
            what="the socket's subscription ended",
        )

    def test_subscriptions_per_connection_are_bounded(self, start_courier):
        courier = start_courier({"max_subscriptions_per_connection": 3})
        peer = ScriptedPeer(courier.port, "/ws")
        kinds = [
            answer_to(peer, json.dumps({"type": "subscribe", "channel": f"c{n}"}))["type"] for n in range(5)
        ]
        assert kinds == ["subscribed"] * 3 + ["error"] * 2
        answer_to(peer, '{"type":"unsubscribe","channel":"c0"}')
        assert answer_to(peer, '{"type":"subscribe","channel":"c4"}')["type"] == "subscribed"


class TestNames:
    @pytest.mark.parametrize(
        "name", ["a%20b", "a%2Fb", "%C3%A9", "x" * 101, "%00", "%FF", "a%252Eb", "a*", "%2A", "%zz"]
    )
    def test_name_outside_the_grammar_is_closed_1008(self, hub, name):
        peer = ScriptedPeer(hub.port, f"/ws/{name}")
        frame = peer.fails_with(1008)
        assert frame.reason == "Invalid channel name"

    def test_encoded_name_is_decoded_once(self, hub, channel):
        encoded = "".join(f"%{byte:02x}" for byte in channel.encode())
        peer = ScriptedPeer(hub.port, f"/ws/{encoded}")
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 1
        peer.leave()

    async def test_real_client_reads_the_reason(self, hub, clients):
        socket = await clients.python(hub.socket_url("/ws/bad%20name"))
        assert await socket.closed() == (1008, "Invalid channel name")


class TestMessageLimits:
    def test_binary_closes_1003(self, peer):
        assert peer.frame(BINARY, b"\x00\x01").fails_with(1003).reason == "Text messages only"

    def test_message_of_1_mib_is_taken(self, peer):
        message = b'{"a":"%s"}' % (b"x" * (MESSAGE_BYTES_MAX - 8))
        assert answer_to(peer, message)["size_bytes"] == MESSAGE_BYTES_MAX

    def test_longer_message_closes_1009(self, peer):
        message = b'{"a":"%s"}' % (b"x" * (MESSAGE_BYTES_MAX - 7))
        assert peer.text(message).fails_with(1009).reason == "Message too big"

    def test_length_alone_is_enough_to_close(self, peer):
        peer.send(encode(TEXT, b"x" * (MESSAGE_BYTES_MAX + 1))[:14])
        peer.fails_with(1009)

    def test_limit_holds_over_fragments(self, peer):
        peer.frame(TEXT, b"x" * 600_000, final=False)
        peer.frame(CONTINUATION, b"x" * 600_000)
        peer.fails_with(1009)

    def test_limit_is_a_setting(self, start_courier):
        courier = start_courier({"max_message_size": 1000})
        peer = ScriptedPeer(courier.port, "/ws/a")
        assert answer_to(peer, b'{"a":"%s"}' % (b"x" * 992))["size_bytes"] == 1000
        peer.text(b'{"a":"%s"}' % (b"x" * 993)).fails_with(1009)


class TestHandshake:
    def ask(self, hub, headers: dict, target="/ws/handshake", method=None, version=None):
        data = upgrade_request(target, KEY, headers)
        data = data.replace(b"GET", method or b"GET", 1).replace(b"HTTP/1.1", version or b"HTTP/1.1", 1)
        with RawConnection(hub.port) as connection:
            return connection.send(data).reply()

    def test_sample_key_of_the_rfc(self, hub):
        answer = self.ask(hub, {})
        assert (answer.status, answer.header("sec-websocket-accept")) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")

    @pytest.mark.parametrize(
        "headers",
        [{"Upgrade": "WebSocket", "Connection": "keep-alive, UPGRADE"}, {"Upgrade": "foo, websocket"}],
    )
    def test_tokens_are_compared_without_case(self, hub, headers):
        assert self.ask(hub, headers).status == 101

    @pytest.mark.parametrize("version", [None, "8", "14", "x", ""])
    def test_other_version_is_426_with_the_version(self, hub, version):
        answer = self.ask(hub, {"Sec-WebSocket-Version": version})
        assert (answer.status, answer.header("sec-websocket-version")) == (426, "13")

    @pytest.mark.parametrize(
        "key", [None, "", "short", "x" * 24, "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSBsb25nZXI="]
    )
    def test_missing_or_bad_key_is_400(self, hub, key):
        assert self.ask(hub, {"Sec-WebSocket-Key": key}).status == 400

    def test_upgrade_by_post_is_refused(self, hub):
        assert self.ask(hub, {"Content-Length": "0"}, method=b"POST").status in (400, 405)

    def test_upgrade_over_http_1_0_is_refused(self, hub):
        assert self.ask(hub, {}, version=b"HTTP/1.0").status in (400, 426, 505)

    @pytest.mark.parametrize("target", ["/ws", "/ws/a"])
    def test_plain_get_is_refused(self, hub, target):
        assert hub.get(target).status in (400, 404, 426)

    @pytest.mark.parametrize("target", ["/routers", "/ws/events/a/b", "/api/v1/ws", "/nope", "/echo"])
    def test_unknown_socket_path_is_404(self, hub, target):
        assert self.ask(hub, {}, target=target).status == 404

    def test_unknown_subprotocol_is_not_echoed(self, hub):
        assert (
            self.ask(hub, {"Sec-WebSocket-Protocol": "soap, mqtt"}).header("sec-websocket-protocol") is None
        )

    def test_extension_that_was_not_offered_is_not_used(self, hub):
        assert self.ask(hub, {}).header("sec-websocket-extensions") is None

    def test_frames_right_behind_the_handshake_are_read(self, hub, channel):
        early = encode(TEXT, b"ping") + encode(TEXT, b'{"type":"ping"}')
        peer = ScriptedPeer(hub.port, f"/ws/{channel}", first_frames=early)
        assert [peer.message().payload for _ in range(2)] == [b"pong", b'{"type":"pong"}']

    def test_upgrade_may_follow_pipelined_requests(self, hub):
        with RawConnection(hub.port) as connection:
            connection.send(
                b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n" + upgrade_request("/ws/a", KEY)
            )
            assert (connection.reply().status, connection.reply().status) == (200, 101)


class TestHeartbeats:
    @pytest.mark.parametrize(
        "form, text",
        [("json", {'{"type":"ping"}'}), ("text", {"ping"}), ("both", {'{"type":"ping"}', "ping"})],
    )
    async def test_heartbeat_comes_every_interval(self, start_courier, clients, form, text):
        courier = start_courier({"heartbeat_interval": 1, "heartbeat_format": form})
        socket = await clients.python(courier.socket_url("/ws/a"))
        started = asyncio.get_running_loop().time()
        beats = await socket.until(2 * len(text), SECOND_BEATS_SECONDS)
        assert set(beats) == text
        assert asyncio.get_running_loop().time() - started > 0.9

    def test_half_open_peer_is_closed_after_two_heartbeats_and_others_stay(self, start_courier):
        courier = start_courier({"heartbeat_interval": 1})
        silent, speaking = ScriptedPeer(courier.port, "/ws/a"), ScriptedPeer(courier.port, "/ws/a")
        assert courier.publish("a", {"n": 1})["clients_reached"] == 2
        pinged = self.answer_pings_until(speaking, lambda: courier.stats()["active_clients"] == 1)
        assert pinged >= 1, "a protocol ping came before the cut"
        silent.drain()  # returns only when the connection has ended
        assert courier.publish("a", {"n": 2})["clients_reached"] == 1

    def answer_pings_until(self, peer: ScriptedPeer, condition, frames_max: int = 60) -> int:
        """Answers protocol pings and says how many there were; the heartbeats themselves pace the loop."""
        pinged = 0
        for _ in range(frames_max):
            frame = peer.next()
            if frame.opcode == PING:
                peer.frame(PONG, frame.payload)
                pinged += 1
            if condition():
                return pinged
        raise AssertionError("the silent peer is still counted")

    def test_any_frame_keeps_a_peer_that_answers_no_ping(self, start_courier):
        courier = start_courier({"heartbeat_interval": 1})
        peer = ScriptedPeer(courier.port, "/ws/a")
        for _ in range(6):  # six heartbeats pass; each is answered by a text that is no pong
            while peer.next().opcode != TEXT:
                pass
            peer.text('{"type":"pong"}')
        assert courier.stats()["active_clients"] == 1

    async def test_real_clients_outlive_many_heartbeats(self, start_courier, clients):
        courier = start_courier({"heartbeat_interval": 1})
        python = await clients.python(courier.socket_url("/ws/a"))
        node = await (await clients.node()).open(courier.socket_url("/ws/a"))
        await asyncio.gather(python.until(5), node.until(5))
        assert (python.code, node.code) == (None, None)


def test_close_by_the_client_is_answered_and_counted(hub, channel):
    before = hub.stats()["active_clients"]
    peer = ScriptedPeer(hub.port, f"/ws/{channel}")
    assert hub.stats()["active_clients"] == before + 1
    assert peer.leave().code == 1000
    hub.await_clients(before)


def test_nothing_is_sent_after_the_close_was_answered(hub, channel):
    peer = ScriptedPeer(hub.port, f"/ws/{channel}")
    peer.send(encode(CLOSE, b"\x03\xe8") + encode(TEXT, b"ping"))
    assert peer.next().opcode == CLOSE
    hub.publish(channel, {"n": 1})
    with pytest.raises(PeerClosed):
        peer.next()
