"""Dialect `router` as Gadugi's event router promises it (sources 2.1, 2.2, contract 6): every message, error and limit."""

import json
import uuid
from datetime import datetime

import pytest

from support.frames import BINARY, TEXT, ScriptedPeer, encode
from support.process import wait_until
from support.speakers import Router, Speaker

HEALTH_FIELDS = {"status", "uptime", "events_processed", "events_failed", "events_in_queue", "active_subscriptions",
                 "connected_clients", "last_event_at", "errors"}  # fmt: skip
SUBSCRIPTIONS_MAX = 128
FLOOD = 10_000


@pytest.fixture
def peer(hub):
    return Router(hub.port)


def is_utc(text: str) -> bool:
    """An ISO time with the offset +00:00, as the source writes it."""
    return text.endswith("+00:00") and datetime.fromisoformat(text) is not None


def error_of(peer: Router, message: dict | str) -> str:
    answer = peer.ask(message)
    assert answer["type"] == "error" and is_utc(answer["timestamp"]), answer
    return answer["error"]


class TestWelcome:
    @pytest.mark.parametrize("path", ["/", "/router"])
    def test_is_the_first_message(self, hub, path):
        peer = Router(hub.port, path)
        assert set(peer.welcome) == {"type", "client_id", "server_time"}
        assert str(uuid.UUID(peer.client_id)) == peer.client_id and is_utc(peer.welcome["server_time"])

    def test_every_client_has_its_own_id(self, hub):
        assert len({Router(hub.port).client_id for _ in range(20)}) == 20

    def test_client_over_the_limit_is_told_and_closed_1000_without_a_welcome(self, start_courier):
        courier = start_courier(config="router: {max_clients: 3}\n")
        peers = [Router(courier.port) for _ in range(3)]
        late = ScriptedPeer(courier.port, "/router")
        assert json.loads(late.message().payload) == {
            "type": "error", "error": "max_clients_reached", "message": "Maximum clients (3) reached"}  # fmt: skip
        assert late.next().code == 1000
        Speaker(courier.port, "/ws/a").gets_only(courier, "a")  # other dialects are not counted
        peers[0].leave()
        wait_until(lambda: courier.stats()["active_clients"] <= 3, what="the place is free")
        wait_until(lambda: _is_welcomed(courier), what="a new client is welcome")


def _is_welcomed(courier) -> bool:
    peer = ScriptedPeer(courier.port, "/router")
    return json.loads(peer.message().payload)["type"] == "welcome"


class TestMessages:
    @pytest.mark.parametrize("echo", [1763750000.123, 0, "text", None, [1, {"a": "b"}], {"x": "ü"}, True])
    def test_ping_brings_the_echo_back(self, peer, echo):
        pong = peer.ask({"type": "ping", "echo": echo})
        assert set(pong) == {"type", "timestamp", "echo"}
        assert (pong["type"], pong["echo"]) == ("pong", echo) and is_utc(pong["timestamp"])

    def test_ping_without_echo(self, peer):
        assert peer.ask({"type": "ping"})["echo"] is None

    def test_publish_is_queued_under_its_own_id(self, peer):
        own = str(uuid.uuid4())
        assert peer.publish("a.b", {"n": 1}, id=own) == {"type": "published", "event_id": own, "status": "queued"}

    def test_publish_without_an_id_gets_one(self, peer):
        answers = [peer.publish("a.b", {"n": n}) for n in range(3)]
        assert all(answer["status"] == "queued" for answer in answers)
        assert len({str(uuid.UUID(answer["event_id"])) for answer in answers}) == 3

    def test_subscribed_names_id_and_topics(self, peer):
        answer = peer.ask({"type": "subscribe", "subscription": {"topics": ["a.*", "b"]}})
        assert set(answer) == {"type", "subscription_id", "topics"}
        assert (answer["type"], answer["topics"]) == ("subscribed", ["a.*", "b"])
        assert uuid.UUID(answer["subscription_id"])

    def test_subscribe_without_topics_means_all(self, peer, channel):
        answer = peer.ask({"type": "subscribe", "subscription": {"sources": [channel]}})
        assert (answer["type"], answer["topics"]) == ("subscribed", ["*"])
        peer.publish(f"{channel}.any.depth", {"n": 1}, source=channel)
        assert peer.event()["event"]["payload"] == {"n": 1}

    def test_event_names_the_subscription(self, peer, channel):
        subscription = peer.subscribe(channel)
        peer.publish(channel, {"n": 1})
        event = peer.event()
        assert set(event) == {"type", "event", "subscription_id"}
        assert event["subscription_id"] == subscription

    def test_unsubscribed_names_the_id_and_ends_it(self, hub, peer, channel):
        subscription, other = peer.subscribe(channel), peer.subscribe(f"{channel}.other")
        assert peer.unsubscribe(subscription) == {"type": "unsubscribed", "subscription_id": subscription}
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 0
        peer.publish(f"{channel}.other", {"n": 2})
        assert peer.event()["subscription_id"] == other

    def test_subscription_id_of_the_client_is_kept_and_echoed(self, peer, channel):
        own = str(uuid.uuid4())
        answer = peer.ask({"type": "subscribe", "subscription": {"id": own, "topics": [channel]}})
        assert (answer["type"], answer["subscription_id"]) == ("subscribed", own)
        peer.publish(channel, {"n": 1})
        assert peer.event()["subscription_id"] == own
        assert peer.unsubscribe(own) == {"type": "unsubscribed", "subscription_id": own}

    def test_health_has_all_fields_and_counts(self, start_courier):
        courier = start_courier()
        peer, other = Router(courier.port), Router(courier.port)
        first = peer.ask({"type": "get_health"})
        assert set(first) == {"type", "health"} and set(first["health"]) == HEALTH_FIELDS
        assert (first["health"]["status"], first["health"]["connected_clients"]) == ("healthy", 2)
        assert (first["health"]["last_event_at"], first["health"]["errors"]) == (None, [])
        other.subscribe("a.*")
        for n in range(5):
            peer.publish("a.b", {"n": n})
        other.bodies(5)
        health = peer.ask({"type": "get_health"})["health"]
        assert (health["active_subscriptions"], health["events_in_queue"], health["events_failed"]) == (1, 0, 0)
        assert health["events_processed"] == 5 and health["last_event_at"] and health["uptime"] > 0
        other.leave()
        wait_until(
            lambda: peer.ask({"type": "get_health"})["health"]["connected_clients"] == 1, what="one client has left"
        )


class TestErrors:
    """Errors never close (sources 2.2)."""

    @pytest.mark.parametrize("text", ["ping", "", "{", "{'a':1}", "nonsense", '{"type":"ping"} x'])
    def test_invalid_json(self, peer, channel, text):
        assert error_of(peer, text).startswith("Invalid JSON: ")
        self.still_works(peer, channel)

    @pytest.mark.parametrize("text", ["[]", "5", '"ping"', "null", "true", '[{"type":"ping"}]'])
    def test_json_that_is_no_object(self, peer, channel, text):
        assert error_of(peer, text).startswith("Internal error: ")
        self.still_works(peer, channel)

    @pytest.mark.parametrize("kind", ["dance", "PING", "", "event", "welcome"])
    def test_unknown_type(self, peer, channel, kind):
        assert error_of(peer, {"type": kind}) == f"Unknown message type: {kind}"
        self.still_works(peer, channel)

    @pytest.mark.parametrize("message", ["{}", '{"type":null}', '{"type":5}', '{"type":[]}', '{"echo":1}'])
    def test_type_missing_or_of_another_kind(self, peer, channel, message):
        assert error_of(peer, message).startswith(("Unknown message type: ", "Internal error: "))
        self.still_works(peer, channel)

    @pytest.mark.parametrize(
        "event",
        [5, "x", [], None, {"topic": "a", "priority": 0}, {"topic": "a", "priority": 11}, {"topic": "a", "priority": "URGENT"},
         {"topic": "a", "priority": []}, {"topic": "a", "colour": "red"}, {"topic": "a", "metadata": {"colour": "red"}},
         {"topic": "a", "metadata": 5}],
    )  # fmt: skip
    def test_bad_event(self, peer, channel, event):
        assert error_of(peer, {"type": "publish", "event": event}).startswith("Failed to publish event: ")
        self.still_works(peer, channel)

    @pytest.mark.parametrize("event", [{"topic": 5}, {"topic": "a", "payload": 5}, {"topic": "a b"}, {"topic": "x" * 500}, {"id": 5}])
    def test_odd_event_is_answered_one_way_or_the_other(self, peer, channel, event):
        assert peer.ask({"type": "publish", "event": event})["type"] in ("error", "published")
        self.still_works(peer, channel)

    @pytest.mark.parametrize(
        "subscription",
        [5, "x", [], {"topics": 5}, {"topics": [5]}, {"types": ["no.such.type"]}, {"types": 5}, {"priorities": ["URGENT"]},
         {"priorities": [11]}, {"priorities": {}}, {"sources": 5}, {"sources": [5]}],
    )  # fmt: skip
    def test_bad_subscription(self, hub, peer, channel, subscription):
        assert error_of(peer, {"type": "subscribe", "subscription": subscription}).startswith("Failed to subscribe: ")
        self.still_works(peer, channel)

    @pytest.mark.parametrize("subscription_id", ["never", "", None, 5, str(uuid.UUID(int=7))])
    def test_subscription_that_is_not_there(self, peer, channel, subscription_id):
        assert error_of(peer, {"type": "unsubscribe", "subscription_id": subscription_id}) == "Subscription not found"
        self.still_works(peer, channel)

    def test_subscription_of_another_client_is_not_owned(self, hub, channel):
        peers = [Router(hub.port) for _ in range(8)]  # on both shards
        subscription = peers[0].subscribe(channel)
        for other in peers[1:]:
            error = error_of(other, {"type": "unsubscribe", "subscription_id": subscription})
            assert error in ("Subscription not owned by client", "Subscription not found")
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 1
        assert peers[0].event()["subscription_id"] == subscription

    def still_works(self, peer: Router, channel: str):
        peer.subscribe(channel)
        peer.publish(channel, {"still": "works"})
        assert peer.event()["event"]["payload"] == {"still": "works"}


class TestFloods:
    def test_ten_thousand_subscriptions_are_bounded(self, hub, channel, peer):
        bystander, told = Router(hub.port), []
        bystander.subscribe(f"{channel}.0")
        for start in range(0, FLOOD, 100):
            orders = [{"type": "subscribe", "subscription": {"topics": [f"{channel}.{n}"]}} for n in range(start, start + 100)]
            peer.send(b"".join(encode(TEXT, json.dumps(order).encode()) for order in orders))
            told += [peer.hear()["type"] for _ in orders]
        assert told == ["subscribed"] * SUBSCRIPTIONS_MAX + ["error"] * (FLOOD - SUBSCRIPTIONS_MAX)
        peer.publish(f"{channel}.0", {"n": 1})
        assert (peer.body(), bystander.body()) == ({"n": 1}, {"n": 1})

    def test_patterns_of_a_hundred_stars_and_a_thousand_topics_are_answered(self, hub, channel, peer):
        for topics in ([".".join("*" * 100)], ["*" * 100], [".".join(["**"] * 100)], ["*"] * 100, [f"{channel}.{n}" for n in range(1000)]):
            answer = peer.ask({"type": "subscribe", "subscription": {"topics": topics, "sources": [channel]}})
            assert answer["type"] in ("subscribed", "error")
        other = Router(hub.port)
        other.subscribe(channel)
        other.publish(channel, {"n": 1})
        assert other.body() == {"n": 1}

    def test_message_of_ten_megabytes_is_read_and_more_closes_1009(self, start_courier):
        courier = start_courier({"max_event_size": 20_000_000})
        peer = Router(courier.port)
        message = b'{"type":"ping","echo":"%s"}'
        whole = message % (b"x" * (10_000_000 - len(message) + 2))
        assert len(whole) == 10_000_000
        assert len(peer.text(whole).message().payload) > 9_000_000
        peer.text(whole + b" ").fails_with(1009)

    def test_binary_frame_closes_1003_and_nobody_else(self, hub, channel, peer):
        bystander = Router(hub.port)
        bystander.subscribe(channel)
        assert peer.frame(BINARY, b'{"type":"ping"}').fails_with(1003).reason == "Text messages only"
        bystander.publish(channel, {"n": 1})
        assert bystander.body() == {"n": 1}
