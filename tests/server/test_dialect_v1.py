"""Dialect `courier.v1` (contract 5): every message, refs, publishing from the socket, bad input that closes nothing."""

import json
import re
import signal

import pytest

from support.frames import BINARY, TEXT, ScriptedPeer, encode
from support.process import wait_until
from support.speakers import V1, Speaker

CONNECTION_ID = re.compile(r"^conn_[0-9a-f]{12}$")
POSITION = re.compile(r"^[0-9a-f]{8}-[0-9]+$")
SUBSCRIPTIONS_MAX = 128
FLOOD = 10_000


def in_order_of_refs(peer: V1, count: int) -> list[dict]:
    """The next `count` answers, sorted by their numeric refs, each of which comes once."""
    answers = sorted((peer.hear() for _ in range(count)), key=lambda answer: int(answer["ref"]))
    assert len({answer["ref"] for answer in answers}) == count
    return answers


@pytest.fixture
def peer(hub):
    return V1(hub.port)


class TestHandshake:
    def test_subprotocol_is_chosen_among_others(self, hub):
        peer = V1(hub.port, headers={"Sec-WebSocket-Protocol": "soap, courier.v1, mqtt"})
        assert peer.welcome["type"] == "welcome"

    async def test_real_clients_agree_on_the_subprotocol(self, hub, clients):
        socket = await clients.python(hub.socket_url("/ws"), subprotocols=["courier.v1"])
        assert socket.connection.subprotocol == "courier.v1"
        assert json.loads((await socket.until(1))[0])["type"] == "welcome"

    def test_without_it_the_dialect_is_courier(self, hub, channel):
        peer = Speaker(hub.port, f"/ws/{channel}")
        assert peer.ask("ping") == "pong"

    def test_welcome_has_the_promised_fields(self, peer):
        assert {"type", "connection", "server", "heartbeat_seconds", "expires_at"} <= set(peer.welcome)
        assert CONNECTION_ID.match(peer.connection)
        assert peer.welcome["heartbeat_seconds"] == 300  # the kit's setting
        assert peer.welcome["expires_at"] is None, "no token, no end"

    def test_every_connection_has_its_own_id(self, hub):
        assert len({V1(hub.port).connection for _ in range(20)}) == 20

    def test_channel_of_the_path_is_subscribed(self, hub, channel):
        peer = V1(hub.port, f"/ws/{channel}")
        answer = hub.publish(channel, {"n": 1})
        assert answer["clients_reached"] == 1
        event = peer.hear_when(V1.is_event)
        assert (event["channel"], event["id"], event["event"]) == (channel, answer["id"], {"n": 1})

    def test_bad_channel_of_the_path_is_closed_1008(self, hub):
        peer = ScriptedPeer(hub.port, "/ws/a%20b", headers={"Sec-WebSocket-Protocol": "courier.v1"})
        assert peer.fails_with(1008).reason == "Invalid channel name"


class TestSubscribe:
    def test_answer_has_the_promised_fields(self, hub, channel, peer):
        position = hub.publish(channel, {"n": 1})["id"]
        answer = peer.subscribe(channel, id="mine")
        assert {"type", "ref", "id", "channel", "position", "recovered", "replayed"} <= set(answer)
        assert (answer["id"], answer["channel"]) == ("mine", channel)
        assert POSITION.match(answer["position"]) and answer["position"] == position
        assert answer["replayed"] == 0

    def test_server_gives_an_id_where_the_client_gives_none(self, peer, channel):
        ids = {peer.subscribe(f"{channel}.{n}")["id"] for n in range(5)}
        assert len(ids) == 5 and all(ids)

    def test_event_has_channel_position_and_the_event_verbatim(self, hub, channel, peer):
        peer.subscribe(channel)
        text = b'{ "b" : 1.50, "a":"\\u00e9", "b": [ ] }'
        position = hub.post(f"/publish/{channel}", text).json()["id"]
        message = peer.message().payload
        assert text in message
        event = json.loads(message)
        assert set(event) == {"type", "channel", "id", "event"}
        assert (event["type"], event["channel"], event["id"]) == ("event", channel, position)

    def test_many_channels_on_one_socket(self, hub, channel, peer):
        names = [f"{channel}.{n}" for n in range(40)]
        for name in names:
            peer.subscribe(name)
        ids = [hub.publish(name, {"to": name})["id"] for name in names]
        events = [peer.event() for _ in names]
        assert {(e["channel"], e["id"], e["event"]["to"]) for e in events} == set(zip(names, ids, names, strict=True))

    def test_unsubscribe_by_id_and_by_channel(self, hub, channel, peer):
        peer.subscribe(f"{channel}.1", id="first")
        peer.subscribe(f"{channel}.2")
        peer.subscribe(channel)
        peer.unsubscribe(id="first")
        peer.unsubscribe(channel=f"{channel}.2")
        for n in (1, 2):
            assert hub.publish(f"{channel}.{n}", {"n": n})["clients_reached"] == 0
        peer.gets_only(hub, channel)

    def test_subscribing_twice_delivers_once(self, hub, channel, peer):
        peer.subscribe(channel)
        peer.command("subscribe", channel=channel)  # told or refused, but never doubled
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 1
        peer.gets_only(hub, channel, {"n": 1})

    def test_subscriptions_end_with_the_socket(self, hub, channel, peer):
        peer.subscribe(channel)
        peer.reset()
        wait_until(lambda: hub.publish(channel, {"n": 1})["clients_reached"] == 0, what="the subscription ended")


class TestPublish:
    def test_answer_has_the_fields_of_an_http_publish(self, hub, channel, peer):
        listener = Speaker(hub.port, f"/ws/{channel}")
        answer = peer.command("publish", channel=channel, data={"type": "greeting", "n": 1})
        assert answer["type"] == "published", answer
        assert {"ref", "status", "channel", "event_type", "clients_reached", "timestamp", "id"} <= set(answer)
        assert (answer["status"], answer["channel"], answer["event_type"], answer["clients_reached"]) == (
            "published", channel, "greeting", 1)  # fmt: skip
        assert POSITION.match(answer["id"])
        listener.gets_only(hub, channel, {"type": "greeting", "n": 1})

    def test_publisher_that_subscribes_hears_itself(self, hub, channel, peer):
        peer.subscribe(channel)
        answer = peer.command("publish", channel=channel, data={"n": 1})
        event = peer.event()
        assert (event["id"], event["event"], answer["clients_reached"]) == (answer["id"], {"n": 1}, 1)

    def test_event_is_forwarded_verbatim(self, hub, channel, peer):
        listener = Speaker(hub.port, f"/ws/{channel}")
        data = '{ "n" : 1.50, "x":"\\u00e9" }'
        peer.say('{"type":"publish","ref":"v","channel":"%s","data":%s}' % (channel, data))
        assert listener.message().payload.decode() == data
        assert peer.hear_when(lambda m: m.get("ref") == "v")["type"] == "published"

    def test_order_of_one_publisher_holds(self, hub, channel, peer):
        listener = Speaker(hub.port, f"/ws/{channel}")
        orders = [{"type": "publish", "ref": str(n), "channel": channel, "data": {"n": n}} for n in range(300)]
        peer.send(b"".join(encode(TEXT, json.dumps(order).encode()) for order in orders))
        answers = in_order_of_refs(peer, 300)
        offsets = [int(answer["id"].split("-")[1]) for answer in answers]
        assert offsets == list(range(offsets[0], offsets[0] + 300))
        assert listener.bodies(300) == [{"n": n} for n in range(300)]

    @pytest.mark.parametrize(
        "fields",
        [{}, {"channel": "a"}, {"data": {"n": 1}}, {"channel": "a b", "data": {"n": 1}}, {"channel": 5, "data": {"n": 1}},
         {"channel": "a", "data": {}}, {"channel": "a", "data": []}, {"channel": "a", "data": "x"},
         {"channel": "a.*", "data": {"n": 1}}, {"channel": "a", "data": {"n": 1}, "priority": 11},
         {"channel": "a", "data": {"n": 1}, "priority": "URGENT"}, {"channel": "a", "data": {"n": 1}, "ttl": "soon"}],
    )  # fmt: skip
    def test_bad_publish_is_an_error_with_its_ref(self, hub, channel, peer, fields):
        error = peer.command("publish", **fields)
        assert error["type"] == "error" and error["code"] and error["message"]
        peer.subscribe(channel)
        peer.gets_only(hub, channel)

    def test_too_big_an_event_is_an_error_and_the_socket_stays(self, start_courier):
        courier = start_courier({"max_event_size": 1024})
        peer = V1(courier.port)
        assert peer.command("publish", channel="a", data={"x": "y" * 2000})["type"] == "error"
        assert peer.command("publish", channel="a", data={"x": "y" * 200})["type"] == "published"


class TestOtherCommands:
    def test_ping_is_answered_with_its_ref(self, peer):
        assert peer.command("ping")["type"] != "error"

    def test_every_question_of_many_is_answered_once(self, hub, channel, peer):
        kinds = ["ping", "subscribe", "presence", "unsubscribe", "ping"] * 40
        orders = [{"type": kind, "ref": str(n), "channel": channel} for n, kind in enumerate(kinds)]
        peer.send(b"".join(encode(TEXT, json.dumps(order).encode()) for order in orders))
        assert len(in_order_of_refs(peer, len(orders))) == len(orders)

    @pytest.mark.parametrize("ref", ["", "ü" * 50, 5, 1.5, None, "r\n\u0000"])
    def test_ref_comes_back_as_it_is_or_is_refused(self, hub, channel, peer, ref):
        answer = peer.ask({"type": "ping", "ref": ref})
        assert answer.get("ref") == ref or answer["type"] == "error"
        peer.subscribe(channel)
        peer.gets_only(hub, channel)


BAD = [
    "nonsense", "", "[]", "5", "null", '"ping"', "{", "{}", '{"ref":"r"}', '{"type":5}', '{"type":null}',
    '{"type":"dance","ref":"r"}', '{"type":["subscribe"]}', '{"type":"subscribe"}', '{"type":"subscribe","channel":5}',
    '{"type":"subscribe","channel":"a b"}', '{"type":"subscribe","channel":"a.*"}', '{"type":"subscribe","pattern":5}',
    '{"type":"subscribe","pattern":"a*"}', '{"type":"subscribe","pattern":"**.a"}', '{"type":"subscribe","pattern":""}',
    '{"type":"subscribe","channel":"a","types":"x"}', '{"type":"subscribe","channel":"a","types":[5]}',
    '{"type":"subscribe","channel":"a","priorities":[99]}', '{"type":"subscribe","channel":"a","sources":{}}',
    '{"type":"unsubscribe"}', '{"type":"unsubscribe","channel":[]}', '{"type":"publish"}', '{"type":"presence"}',
    '{"type":"history"}', '{"type":"auth"}', '{"type":"subscribe","channel":"' + "x" * 101 + '"}',
    '{"a":' + "[" * 3000 + "]" * 3000 + "}",
]  # fmt: skip


class TestBadInput:
    @pytest.mark.parametrize("message", BAD, ids=range(len(BAD)))
    def test_is_told_and_the_socket_stays(self, hub, channel, message):
        bystander, peer = V1(hub.port), V1(hub.port)
        bystander.subscribe(channel)
        peer.subscribe(channel)
        error = peer.ask(message)
        assert error["type"] == "error" and error["code"] and error["message"], error
        peer.gets_only(hub, channel)
        bystander.gets_only(hub, channel, {"type": "marker", "marker": True})

    def test_error_says_whether_trying_again_helps(self, peer):
        assert "retry" in peer.command("dance")

    def test_unsubscribe_of_what_is_not_there_harms_nothing(self, hub, channel, peer):
        peer.subscribe(channel)
        for fields in ({"id": "never"}, {"channel": f"{channel}.never"}, {"id": ""}):
            peer.command("unsubscribe", **fields)
        peer.gets_only(hub, channel)

    def test_ten_thousand_subscriptions_are_bounded(self, hub, channel, peer):
        told = []
        for start in range(0, FLOOD, 100):
            orders = [{"type": "subscribe", "ref": str(n), "channel": f"{channel}.{n}"} for n in range(start, start + 100)]
            peer.send(b"".join(encode(TEXT, json.dumps(order).encode()) for order in orders))
            told += [answer["type"] for answer in in_order_of_refs(peer, 100)]
        assert told == ["subscribed"] * SUBSCRIPTIONS_MAX + ["error"] * (FLOOD - SUBSCRIPTIONS_MAX)
        peer.gets_only(hub, f"{channel}.5")

    def test_ten_thousand_patterns_are_bounded(self, hub, channel, peer):
        told = []
        for start in range(0, FLOOD, 100):
            orders = [{"type": "subscribe", "ref": str(n), "pattern": f"{channel}.{n}.**"} for n in range(start, start + 100)]
            peer.send(b"".join(encode(TEXT, json.dumps(order).encode()) for order in orders))
            told += [answer["type"] for answer in in_order_of_refs(peer, 100)]
        assert told == ["subscribed"] * SUBSCRIPTIONS_MAX + ["error"] * (FLOOD - SUBSCRIPTIONS_MAX)
        peer.gets_only(hub, f"{channel}.5.a")

    def test_pattern_of_a_hundred_stars_is_answered(self, hub, channel, peer):
        for pattern in (".".join("*" * 50), ".".join("*" * 100), "*" * 100, ".".join(["**"] * 34)):
            assert peer.command("subscribe", pattern=pattern)["type"] in ("subscribed", "error")
        peer.subscribe(channel)
        peer.gets_only(hub, channel)

    def test_binary_frame_closes_1003_and_nobody_else(self, hub, channel):
        bystander, peer = V1(hub.port), V1(hub.port)
        bystander.subscribe(channel)
        assert peer.frame(BINARY, b"{}").fails_with(1003).reason == "Text messages only"
        bystander.gets_only(hub, channel)

    def test_oversize_message_closes_1009_and_nobody_else(self, hub, channel):
        bystander, peer = V1(hub.port), V1(hub.port)
        bystander.subscribe(channel)
        peer.text(b'"' + b"x" * (1 << 20) + b'"').fails_with(1009)
        bystander.gets_only(hub, channel)


class TestEnd:
    async def test_shutdown_is_told_before_the_close(self, start_courier, clients):
        courier = start_courier()
        socket = await clients.python(courier.socket_url("/ws"), subprotocols=["courier.v1"])
        await socket.until(1)
        courier.signal(signal.SIGTERM)
        assert (await socket.closed())[0] == 1001
        assert json.loads(socket.messages[-1])["type"] == "shutdown"
