"""Delivery on request: acknowledgements in `courier.v1` and the retry fields of the router (issue 5; sources 2.3, G42)."""

import time

import pytest

from support.flood import offset
from support.history import publish_many, shifted
from support.process import wait_until
from support.speakers import V1, Router, Speaker

SHORT_SECONDS = 0.3
SOON = {"ack": True, "ack_timeout": SHORT_SECONDS, "max_deliveries": 3}
PATIENT = {"ack": True, "ack_timeout": 60}


def letters(courier, **query) -> list[dict]:
    words = "&".join(f"{name}={value}" for name, value in query.items())
    answer = courier.get("/dead-letters?" + words)
    assert answer.status == 200, answer.body
    return answer.json()["letters"]


@pytest.fixture
def peer(hub):
    return V1(hub.port)


class TestSubscribe:
    def test_answer_says_what_holds(self, hub, channel, peer):
        answer = peer.subscribe(channel, **SOON)
        assert (answer["ack"], answer["ack_timeout"], answer["max_deliveries"]) == (True, SHORT_SECONDS, 3)

    def test_defaults_are_the_routers(self, hub, channel, peer):
        """Sources 2.3: 30 seconds, and three retries after the first delivery."""
        answer = peer.subscribe(channel, ack=True)
        assert (answer["ack_timeout"], answer["max_deliveries"]) == (30, 4)

    @pytest.mark.parametrize("fields", [
        {"ack": "yes"}, {"ack": 1}, {"ack": None}, {"ack_timeout": 5}, {"max_deliveries": 5}, {"ack": False, "ack_timeout": 5},
        {"ack": True, "ack_timeout": 0}, {"ack": True, "ack_timeout": -1}, {"ack": True, "ack_timeout": 3601}, {"ack": True, "ack_timeout": "5"},
        {"ack": True, "max_deliveries": 0}, {"ack": True, "max_deliveries": 101}, {"ack": True, "max_deliveries": 1.5},
    ])  # fmt: skip
    def test_wrong_field_is_an_error(self, hub, channel, peer, fields):
        if fields == {"ack": None}:
            pytest.skip("null may count as absent")
        error = peer.command("subscribe", channel=channel, **fields)
        assert error["type"] == "error" and error["message"], fields
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 0

    def test_without_it_nothing_comes_again(self, hub, channel, peer):
        peer.subscribe(channel)
        asking = V1(hub.port)
        asking.subscribe(channel, **SOON)
        hub.publish(channel, {"n": 1})
        for delivery in (1, 2, 3):
            assert asking.event()["delivery"] == delivery
        assert set(peer.event()) == {"type", "channel", "id", "event"}
        peer.gets_only(hub, channel)


class TestAcknowledging:
    def test_acknowledged_event_does_not_come_again(self, hub, channel, peer):
        answer = peer.subscribe(channel, id="mine", **SOON)
        assert answer["id"] == "mine"
        position = hub.publish(channel, {"n": 1})["id"]
        event = peer.event()
        assert (event["id"], event["subscription"], event["delivery"]) == (position, "mine", 1)
        acked = peer.command("ack", channel=channel, id=position)
        assert (acked["type"], acked["count"]) == ("acked", 1)
        other = V1(hub.port)  # whose second delivery tells that the time is over
        other.subscribe(channel, **(SOON | {"ack_timeout": 2 * SHORT_SECONDS, "max_deliveries": 2}))
        second = hub.publish(channel, {"n": 2})["id"]
        assert peer.event()["event"] == {"n": 2}
        peer.command("ack", channel=channel, id=second)
        assert [other.event()["delivery"] for _ in range(2)] == [1, 2]
        peer.gets_only(hub, channel)
        assert [letter["position"] for letter in letters(hub, channel=channel)].count(position) == 0

    def test_many_at_once_and_twice(self, hub, channel, peer):
        peer.subscribe(channel, **PATIENT)
        ids = publish_many(hub, channel, 10)
        assert [peer.event()["id"] for _ in range(10)] == ids
        assert peer.command("ack", channel=channel, ids=ids[:7])["count"] == 7
        assert peer.command("ack", channel=channel, ids=ids[5:])["count"] == 3, "two were acknowledged before"
        assert peer.command("ack", channel=channel, id=ids[0])["count"] == 0
        assert peer.command("ack", channel=channel, id=shifted(ids[-1], 5))["count"] == 0, "never sent"

    def test_channel_may_be_left_out_with_a_single_subscription(self, hub, channel, peer):
        peer.subscribe(channel, **PATIENT)
        position = hub.publish(channel, {"n": 1})["id"]
        peer.event()
        assert peer.command("ack", id=position)["count"] == 1

    def test_without_a_ref_there_is_no_answer(self, hub, channel, peer):
        peer.subscribe(channel, **PATIENT)
        position = hub.publish(channel, {"n": 1})["id"]
        peer.event()
        peer.say({"type": "ack", "channel": channel, "id": position})
        assert peer.command("ack", channel=channel, id=position)["count"] == 0, "the first was taken"
        assert not peer.aside

    @pytest.mark.parametrize("fields", [
        {}, {"id": 5}, {"id": "x"}, {"ids": []}, {"ids": "x"}, {"ids": [5]}, {"ids": ["12345678-1"] * 1001}, {"id": "12345678-1", "channel": "a b"},
        {"id": "12345678-1", "channel": 5}, {"id": "12345678-1", "ids": ["12345678-1"]},
    ])  # fmt: skip
    def test_malformed_is_an_error_and_the_socket_stays(self, hub, channel, peer, fields):
        peer.subscribe(channel, **PATIENT)
        error = peer.command("ack", **({"channel": channel} | fields))
        assert error["type"] == "error" and error["message"], error
        peer.gets_only(hub, channel)

    def test_ack_of_another_connection_counts_nothing(self, hub, channel, peer):
        peer.subscribe(channel, **PATIENT)
        stranger = V1(hub.port)
        stranger.subscribe(channel)
        position = hub.publish(channel, {"n": 1})["id"]
        assert stranger.command("ack", channel=channel, id=position).get("count", 0) == 0
        assert peer.command("ack", channel=channel, id=position)["count"] == 1


class TestRedelivery:
    def test_comes_again_after_the_timeout_up_to_the_limit(self, hub, channel, peer):
        peer.subscribe(channel, id="mine", **SOON)
        started = time.monotonic()
        position = hub.publish(channel, {"n": 1, "x": 1.50})["id"]
        deliveries = [peer.event() for _ in range(3)]
        assert time.monotonic() - started > 2 * SHORT_SECONDS * 0.9
        assert [(event["id"], event["delivery"]) for event in deliveries] == [(position, n) for n in (1, 2, 3)]
        assert {str(event["event"]) for event in deliveries} == {str({"n": 1, "x": 1.50})}
        wait_until(lambda: letters(hub, channel=channel), what="the dead letter")
        peer.gets_only(hub, channel)
        letter = letters(hub, channel=channel)[0]
        assert (letter["reason"], letter["position"], letter["deliveries"], letter["subscription"]) == ("unacknowledged", position, 3, "mine")
        assert letter["event"] == {"n": 1, "x": 1.50}

    def test_ack_of_a_later_delivery_ends_it(self, hub, channel, peer):
        peer.subscribe(channel, **SOON)
        position = hub.publish(channel, {"n": 1})["id"]
        assert [peer.event()["delivery"] for _ in range(2)] == [1, 2]
        assert peer.command("ack", channel=channel, id=position)["count"] == 1
        second = V1(hub.port)
        second.subscribe(channel, **SOON)
        hub.publish(channel, {"n": 2})
        assert [second.event()["delivery"] for _ in range(3)] == [1, 2, 3]
        wait_until(lambda: len(letters(hub, channel=channel)) == 2, what="both have given up on the second")
        assert position not in {letter["position"] for letter in letters(hub, channel=channel)}

    def test_live_events_keep_their_order_meanwhile(self, hub, channel, peer):
        peer.subscribe(channel, **(SOON | {"max_deliveries": 2}))
        publish_many(hub, channel, 20)
        first, again = [], []
        while len(again) < 20:
            event = peer.event()
            (first if event["delivery"] == 1 else again).append(event["event"]["n"])
            if len(first) == len(again) == 10:
                publish_many(hub, channel, 1, start=20)
        assert [n for n in first if n < 20] == list(range(20)) and sorted(again)[:20] == sorted(set(again))[:20]

    def test_each_subscriber_has_its_own_count(self, hub, channel):
        peers = [V1(hub.port) for _ in range(4)]
        for peer in peers:
            peer.subscribe(channel, **SOON)
        position = hub.publish(channel, {"n": 1})["id"]
        for peer in peers[:2]:
            peer.event()
            assert peer.command("ack", channel=channel, id=position)["count"] == 1
        for peer in peers[2:]:
            assert [peer.event()["delivery"] for _ in range(3)] == [1, 2, 3]
        wait_until(lambda: len(letters(hub, channel=channel)) == 2, what="two letters")

    def test_nack_brings_it_back_at_once_or_later(self, hub, channel, peer):
        peer.subscribe(channel, **(PATIENT | {"max_deliveries": 3}))
        position = hub.publish(channel, {"n": 1})["id"]
        peer.event()
        assert peer.command("nack", channel=channel, id=position)["count"] == 1
        assert peer.event()["delivery"] == 2
        started = time.monotonic()
        assert peer.command("nack", channel=channel, id=position, delay=SHORT_SECONDS)["count"] == 1
        assert peer.event()["delivery"] == 3
        assert time.monotonic() - started > SHORT_SECONDS * 0.9
        peer.command("nack", channel=channel, id=position)
        wait_until(lambda: letters(hub, channel=channel), what="no delivery is left")

    def test_nack_with_dead_is_a_letter_now(self, hub, channel, peer):
        peer.subscribe(channel, **PATIENT)
        position = hub.publish(channel, {"n": 1})["id"]
        peer.event()
        peer.command("nack", channel=channel, id=position, dead=True)
        letter = wait_until(lambda: letters(hub, channel=channel), what="the letter")[0]
        assert (letter["reason"], letter["deliveries"]) == ("rejected", 1)

    def test_replayed_events_want_acknowledgements_too(self, hub, channel, peer):
        ids = publish_many(hub, channel, 5)
        answer = peer.subscribe(channel, after=ids[1], **(SOON | {"max_deliveries": 2}))
        assert answer["recovered"] is True
        got = [peer.event() for _ in range(3)]
        assert [(event["id"], event["delivery"]) for event in got] == [(position, 1) for position in ids[2:]]
        assert peer.command("ack", channel=channel, ids=ids[2:4])["count"] == 2
        again = peer.event()
        assert (again["id"], again["delivery"]) == (ids[4], 2)

    def test_pattern_and_several_channels(self, hub, channel, peer):
        peer.subscribe(None, pattern=f"{channel}.*", **(SOON | {"max_deliveries": 2}))
        ids = {name: hub.publish(name, {"n": 1})["id"] for name in (f"{channel}.a", f"{channel}.b")}
        assert {peer.event()["channel"] for _ in range(2)} == set(ids)
        name, other = ids
        assert peer.command("ack", channel=name, id=ids[name])["count"] == 1
        again = peer.event()
        assert (again["channel"], again["delivery"]) == (other, 2)


class TestEnd:
    def test_leaving_forgets_and_resuming_brings_it_back(self, hub, channel, peer):
        peer.subscribe(channel, **SOON)
        ids = publish_many(hub, channel, 3)
        for _ in range(3):
            peer.event()
        peer.command("ack", channel=channel, id=ids[0])
        peer.reset()
        back = V1(hub.port)
        assert back.subscribe(channel, after=ids[0], **SOON)["recovered"] is True
        got = [back.event() for _ in range(2)]
        assert [(event["id"], event["delivery"]) for event in got] == [(ids[1], 1), (ids[2], 1)]
        assert back.command("ack", channel=channel, ids=ids[1:])["count"] == 2
        assert letters(hub, channel=channel) == []

    def test_unsubscribing_ends_the_redelivery(self, hub, channel, peer):
        peer.subscribe(channel, **SOON)
        other = V1(hub.port)
        other.subscribe(channel, **SOON)
        hub.publish(channel, {"n": 1})
        peer.event()
        peer.unsubscribe(channel=channel)
        assert [other.event()["delivery"] for _ in range(3)] == [1, 2, 3]
        peer.subscribe(channel)
        peer.gets_only(hub, channel)
        wait_until(lambda: len(letters(hub, channel=channel)) == 1, what="only the other's letter")

    def test_one_who_never_acknowledges_is_bounded(self, start_courier):
        """What awaits its acknowledgement counts as queued (contract 10): the slow rule ends it, others are not held up."""
        courier = start_courier({"outbox.events": 64})
        stuck, fine = V1(courier.port), Speaker(courier.port, "/ws/a")
        stuck.subscribe("a", **PATIENT)
        for n in range(200):
            courier.publish("a", {"n": n})
            assert fine.body() == {"n": n}
        assert stuck.close_frame().code == 1013
        wait_until(lambda: courier.publish("a", {"n": "end"})["clients_reached"] == 1, what="one is left")

    def test_one_who_acknowledges_is_never_cut(self, start_courier):
        courier = start_courier({"outbox.events": 64})
        peer = V1(courier.port)
        peer.subscribe("a", **PATIENT)
        for n in range(300):
            courier.publish("a", {"n": n})
            event = peer.event()
            assert event["event"] == {"n": n} and event["delivery"] == 1
            peer.say({"type": "ack", "channel": "a", "id": event["id"]})
        assert peer.command("ping")["type"] == "pong"


def event_of(router: Router) -> dict:
    return router.event()["event"]


class TestRouter:
    RETRY = {"ack": True, "max_retries": 2, "retry_delay": 0.1, "timeout": SHORT_SECONDS}

    def test_published_clients_that_know_no_ack_see_nothing_twice(self, hub, channel):
        router, probe = Router(hub.port), Router(hub.port)
        router.subscribe(channel, max_retries=3, retry_delay=0.1, timeout=SHORT_SECONDS, batch_size=1)
        probe.subscribe(channel, **self.RETRY)
        probe.publish(channel, {"n": 1})
        for _ in range(3):
            event_of(probe)
        assert event_of(router)["payload"] == {"n": 1}
        router.say({"type": "ping", "echo": "fence"})
        assert router.hear_when(lambda message: message["type"] == "pong") and not router.aside

    def test_retries_take_effect_and_the_status_is_told(self, hub, channel):
        router = Router(hub.port)
        subscription = router.subscribe(channel, **self.RETRY)
        event_id = router.publish(channel, {"n": 1})["event_id"]
        got = [router.event() for _ in range(3)]
        assert {message["subscription_id"] for message in got} == {subscription}
        events = [message["event"] for message in got]
        assert {event["id"] for event in events} == {event_id}
        assert [event["delivery_status"] for event in events] == ["pending", "retrying", "retrying"]
        assert [event["delivery_attempts"] for event in events] == [0, 1, 2]
        assert events[0]["last_delivery_attempt"] is None and events[1]["last_delivery_attempt"]
        letter = wait_until(lambda: letters(hub, channel=channel), what="the letter")[0]
        assert (letter["reason"], letter["deliveries"], letter["subscription"]) == ("unacknowledged", 3, subscription)
        assert letter["event"]["delivery_status"] == "dead_letter" and letter["event"]["delivery_error"]

    def test_ack_ends_it(self, hub, channel):
        router = Router(hub.port)
        subscription = router.subscribe(channel, **self.RETRY)
        event_id = router.publish(channel, {"n": 1})["event_id"]
        event_of(router)
        said = {"type": "ack", "event_id": event_id, "subscription_id": subscription}
        assert router.ask(said)["type"] == "acked"
        assert router.ask(said)["type"] == "error", "no longer awaited"
        other = Router(hub.port)
        other.subscribe(channel, **self.RETRY)
        router.publish(channel, {"n": 2})
        for _ in range(3):
            event_of(other)
        assert letters(hub, channel=channel) == [] or all(
            letter["event"]["payload"] == {"n": 2} for letter in letters(hub, channel=channel)
        )

    @pytest.mark.parametrize("fields", [
        {"max_retries": -1}, {"max_retries": 100}, {"retry_delay": -1}, {"retry_delay": 3601}, {"timeout": 0}, {"timeout": 3601}, {"timeout": "x"},
        {"ack": "yes"}, {"batch_size": 0},
    ])  # fmt: skip
    def test_wrong_field_is_an_error(self, hub, channel, fields):
        router = Router(hub.port)
        answer = router.ask({"type": "subscribe", "subscription": {"topics": [channel]} | self.RETRY | fields})
        assert answer["type"] == "error" and answer["error"]

    def test_event_of_another_dialect_is_retried_as_well(self, hub, channel):
        router = Router(hub.port)
        router.subscribe(channel, **self.RETRY)
        position = hub.publish(channel, {"n": 1})["id"]
        assert len({event_of(router)["id"] for _ in range(3)}) == 1
        letter = wait_until(lambda: letters(hub, channel=channel), what="the letter")[0]
        assert letter["event"] == {"n": 1} and offset(letter["position"]) == offset(position)
