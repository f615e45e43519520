"""The router's retry fields (sources 2.3, G42): a subscription with `ack: true` gets its events again until it says that it
has them, and what it never has becomes a dead letter. Without `ack` the fields change nothing."""

import uuid
from datetime import datetime

import pytest

from support.process import wait_until
from support.speakers import Router, Speaker

LETTERS_CHANNEL = "courier.dead"
SOON = {"ack": True, "max_retries": 2, "retry_delay": 0, "timeout": 0.2}
PATIENT = {"ack": True, "max_retries": 2, "retry_delay": 0, "timeout": 60}


@pytest.fixture
def peer(hub):
    peer = Router(hub.port)
    yield peer
    peer.reset()


def letters(courier, channel: str, count: int = 1) -> list[dict]:
    """The letters of a channel, once there are so many."""

    def listed():
        return courier.get(f"/dead-letters?limit=1000&channel={channel}").json()["letters"]

    wait_until(lambda: len(listed()) >= count, what=f"{count} letters")
    found = listed()
    assert len(found) == count, found
    return found


def told(event: dict) -> tuple:
    """What an event object says of its delivery."""
    return event["delivery_status"], event["delivery_attempts"], event["delivery_error"]


def ack(peer: Router, *ids: str, kind: str = "ack", **fields) -> dict:
    answer = peer.ask({"type": kind, "event_ids": list(ids)} | fields)
    assert answer["type"] == "acked", answer
    return answer


class TestSubscribe:
    def test_answer_says_what_holds_with_the_sources_defaults(self, peer, channel):
        answer = peer.ask({"type": "subscribe", "subscription": {"topics": [channel], "ack": True}})
        held = {name: answer[name] for name in ("ack", "max_retries", "retry_delay", "timeout")}
        assert held == {"ack": True, "max_retries": 3, "retry_delay": 1, "timeout": 30}

    @pytest.mark.parametrize("fields", [
        {"ack": "yes"}, {"ack": 1}, {"ack": True, "timeout": 0}, {"ack": True, "timeout": 3601}, {"ack": True, "timeout": "5"},
        {"ack": True, "max_retries": -1}, {"ack": True, "max_retries": 100}, {"ack": True, "max_retries": 1.5},
        {"ack": True, "retry_delay": -1}, {"ack": True, "retry_delay": []},
    ])  # fmt: skip
    def test_wrong_field_is_an_error(self, hub, peer, channel, fields):
        answer = peer.ask({"type": "subscribe", "subscription": {"topics": [channel]} | fields})
        assert answer["type"] == "error" and answer["error"].startswith("Failed to subscribe: "), answer
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 0

    def test_without_ack_the_fields_change_nothing(self, hub, peer, channel):
        """The source's own client sends them always and has no word for an acknowledgement."""
        answer = peer.ask({"type": "subscribe", "subscription": {
            "topics": [channel], "max_retries": 3, "retry_delay": 0.0, "timeout": 0.1, "batch_size": 1, "ack": False}})  # fmt: skip
        assert set(answer) == {"type", "subscription_id", "topics"}
        other = Router(hub.port)
        other.subscribe(channel, **SOON)
        hub.publish(channel, {"n": 1})
        assert [told(other.event()["event"])[0] for _ in range(3)] == ["pending", "retrying", "retrying"]
        peer.gets_only(hub, channel, {"n": 1})
        answer = peer.ask({"type": "ack", "event_id": "x"})
        assert (answer["type"], answer["error"]) == ("error", "Subscription not found")


class TestAcknowledging:
    @pytest.mark.parametrize("of_router", [True, False])
    def test_comes_until_acknowledged_and_says_how_often(self, hub, peer, channel, of_router):
        subscription = peer.subscribe(channel, **SOON)
        plain = Router(hub.port)
        plain.subscribe(channel)
        if of_router:
            peer.publish(channel, {"n": 'a"é,"delivery_status":'}, delivery_error='x,"delivery_status":', type="task.failed")
        else:
            hub.publish(channel, {"n": 1, "type": "task.failed"})
        first, second = peer.event(), peer.event()
        seen = plain.event()
        assert set(first) == set(seen) == {"type", "event", "subscription_id"}
        assert first["subscription_id"] == second["subscription_id"] == subscription
        delivery = ("delivery_status", "delivery_attempts", "delivery_error", "last_delivery_attempt")
        assert set(first["event"]) == set(seen["event"])
        for name in set(first["event"]) - set(delivery):
            assert first["event"][name] == second["event"][name] == seen["event"][name], name
        assert told(first["event"]) == ("pending", 0, None) and first["event"]["last_delivery_attempt"] is None
        assert told(second["event"]) == ("retrying", 1, "not acknowledged in time")
        assert datetime.fromisoformat(second["event"]["last_delivery_attempt"]).tzinfo is not None
        answer = ack(peer, first["event"]["id"], subscription_id=subscription)
        assert (answer["subscription_id"], answer["count"], answer["in_flight"]) == (subscription, 1, 0)
        other = Router(hub.port)  # whose last try tells that the time is over
        other.subscribe(f"{channel}.other", **SOON)
        hub.publish(f"{channel}.other", {"n": 1})
        assert letters(hub, f"{channel}.other")
        peer.say({"type": "ping", "echo": 1})
        assert peer.hear()["type"] == "pong", "nothing came again"

    def test_after_its_retries_it_is_a_letter_with_the_sources_status(self, hub, peer, channel):
        watcher = Router(hub.port)
        watcher.subscribe(LETTERS_CHANNEL)
        subscription = peer.subscribe(channel, **SOON)
        answer = peer.publish(channel, {"n": 1}, priority=7)
        assert [told(peer.event()["event"])[1] for _ in range(3)] == [0, 1, 2]
        letter = letters(hub, channel)[0]
        assert (letter["reason"], letter["attempts"], letter["subscription"]) == ("unacknowledged", 3, subscription)
        assert (letter["router"], letter["priority"], letter["event"]["id"]) == (True, 7, answer["event_id"])
        while (message := watcher.event()["event"])["payload"]["channel"] != channel:
            pass
        assert told(message) == ("dead_letter", 3, letter["detail"])
        said = hub.post(f"/dead-letters/retry?id={letter['id']}", b"").json()
        assert said["retried"] == 1 and peer.event()["event"]["payload"] == {"n": 1}
        assert ack(peer, answer["event_id"])["count"] == 1

    def test_rejected_comes_again_and_rejected_for_good_is_a_letter(self, hub, peer, channel):
        peer.subscribe(channel, **PATIENT)
        ids = [peer.publish(channel, {"n": n})["event_id"] for n in range(2)]
        assert [peer.event()["event"]["id"] for _ in ids] == ids
        assert ack(peer, ids[0], kind="nack")["in_flight"] == 2
        again = peer.event()["event"]
        assert (again["id"], told(again)) == (ids[0], ("retrying", 1, "rejected by the subscriber"))
        assert ack(peer, ids[1], kind="nack", dead_letter=True)["in_flight"] == 1
        assert letters(hub, channel)[0]["reason"] == "rejected"
        ack(peer, ids[0], kind="nack")
        assert told(peer.event()["event"])[1] == 2
        ack(peer, ids[0], kind="nack")
        assert [letter["attempts"] for letter in letters(hub, channel, 2)] == [1, 3]

    def test_delay_passes_before_each_retry(self, hub, peer, channel):
        """A second subscription of the same topic without a delay gets all its tries before the first one's second."""
        slow = peer.subscribe(channel, **(PATIENT | {"retry_delay": 1.0}))
        quick = peer.subscribe(channel, **PATIENT)
        event_id = peer.publish(channel, {"n": 1})["event_id"]
        assert {peer.event()["subscription_id"] for _ in range(2)} == {slow, quick}
        assert ack(peer, event_id, kind="nack")["count"] == 2
        assert ack(peer, event_id, kind="nack", subscription_id=slow)["in_flight"] == 1, "it rests already"
        assert peer.event()["subscription_id"] == quick
        ack(peer, event_id, kind="nack", subscription_id=quick)
        assert peer.event()["subscription_id"] == quick
        late = peer.event()
        assert (late["subscription_id"], told(late["event"])[1]) == (slow, 1)
        before = datetime.fromisoformat(late["event"]["last_delivery_attempt"])
        assert (datetime.now(before.tzinfo) - before).total_seconds() >= 1.0
        assert ack(peer, event_id, subscription_id=slow)["count"] == 1

    def test_patterns_and_overlapping_topics_are_one_subscription(self, hub, peer, channel):
        subscription = peer.subscribe(f"{channel}.*", f"{channel}.a.**", f"{channel}.x.*", channel, **PATIENT)
        topics = [f"{channel}.a", channel, f"{channel}.a.b", f"{channel}.x.y"]
        for n, topic in enumerate(topics):
            hub.publish(topic, {"n": n})
        found = [peer.event() for _ in topics]
        assert [(event["event"]["topic"], event["event"]["payload"]["n"]) for event in found] == list(zip(topics, range(4)))
        answer = ack(peer, *(event["event"]["id"] for event in found[1:]), subscription_id=subscription)
        assert (answer["count"], answer["in_flight"]) == (3, 1)
        peer.unsubscribe(subscription)
        assert [letter["channel"] for letter in letters(hub, topics[0])] == [topics[0]]

    def test_overlapping_patterns_of_one_subscription_bring_one_copy(self, hub, peer, channel):
        peer.subscribe(f"{channel}.*", f"*.{'*.' * channel.count('.')}b", **PATIENT)
        hub.publish(f"{channel}.b", {"n": 1})
        event_id = peer.event()["event"]["id"]
        answer = ack(peer, event_id)
        assert (answer["count"], answer["in_flight"]) == (1, 0)
        peer.gets_only(hub, f"{channel}.b")

    def test_unknown_ids_and_subscriptions_are_told(self, hub, peer, channel):
        peer.subscribe(channel, **PATIENT)
        answer = ack(peer, str(uuid.uuid4()))
        assert (answer["count"], answer["in_flight"], answer["subscription_id"]) == (0, 0, None)
        wrong = peer.ask({"type": "ack", "event_id": "x", "subscription_id": str(uuid.uuid4())})
        assert (wrong["type"], wrong["error"]) == ("error", "Subscription not found")
        for message in ({}, {"event_id": 5}, {"event_ids": "x"}, {"event_ids": []}, {"event_ids": [5]},
                        {"event_ids": ["x"] * 1001}, {"event_id": "x", "subscription_id": 5}):  # fmt: skip
            for kind in ("ack", "nack"):
                wrong = peer.ask({"type": kind} | message)
                assert wrong["type"] == "error" and wrong["error"].startswith(f"Failed to {kind}: "), wrong
        wrong = peer.ask({"type": "nack", "event_id": "x", "dead_letter": "yes"})
        assert wrong["type"] == "error"


class TestNothingIsLostInSilence:
    def test_what_finds_the_window_full_is_a_letter_and_the_next_comes(self, start_courier):
        courier = start_courier({"outbox.events": 10, "shards": 2})
        peer, plain = Router(courier.port), Speaker(courier.port, "/ws/a")
        peer.subscribe("*", **PATIENT)
        reached = []
        for n in range(15):
            reached.append(courier.publish("a", {"n": n})["clients_reached"])
            assert plain.body() == {"n": n}
        assert reached == [2] * 10 + [1] * 5
        events = [peer.event()["event"] for _ in range(10)]
        assert [event["payload"]["n"] for event in events] == list(range(10))
        found = letters(courier, "a", 5)
        assert [letter["event"]["n"] for letter in found] == list(range(10, 15))
        assert {(letter["reason"], letter["attempts"]) for letter in found} == {("unacknowledged", 0)}
        assert ack(peer, events[0]["id"], events[5]["id"])["in_flight"] == 8
        courier.publish("a", {"n": 15})
        assert peer.body() == {"n": 15}

    @pytest.mark.parametrize("how", ["unsubscribe", "leave", "reset"])
    def test_what_is_in_flight_when_it_ends_is_a_letter(self, hub, channel, how):
        peer = Router(hub.port)
        subscription = peer.subscribe(channel, **PATIENT)
        ids = [peer.publish(channel, {"n": n})["event_id"] for n in range(3)]
        assert [peer.event()["event"]["id"] for _ in ids] == ids
        ack(peer, ids[1])
        peer.unsubscribe(subscription) if how == "unsubscribe" else getattr(peer, how)()
        found = letters(hub, channel, 2)
        assert [letter["event"]["id"] for letter in found] == [ids[0], ids[2]]
        assert {(letter["reason"], letter["attempts"]) for letter in found} == {("unacknowledged", 1)}
