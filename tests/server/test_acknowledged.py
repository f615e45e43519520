"""Delivery on request: acknowledgements in `courier.v1` (issue 5; sources 2.3, G42)."""

import time

import pytest

from support.flood import offset
from support.history import publish_many, shifted
from support.process import wait_until
from support.speakers import V1, Speaker
from support.storage import durable, kill

SHORT_SECONDS = 0.3
SOON = {"ack": True, "ack_timeout": SHORT_SECONDS, "max_attempts": 3}
PATIENT = {"ack": True, "ack_timeout": 60}


def letters(courier, **query) -> list[dict]:
    words = "&".join(f"{name}={value}" for name, value in query.items())
    answer = courier.get("/dead-letters?" + words)
    assert answer.status == 200, answer.body
    return answer.json()["letters"]


@pytest.fixture(scope="module")
def hub(module_courier):
    return module_courier({"shards": 3})


@pytest.fixture(scope="module")
def module_courier():
    from support.process import Courier

    running = []

    def start(settings):
        running.append(Courier(settings))
        return running[-1].start()

    yield start
    for courier in running:
        courier.stop()


@pytest.fixture
def peer(hub):
    peer = V1(hub.port)
    yield peer
    peer.reset()


class TestSubscribe:
    def test_answer_says_what_holds(self, channel, peer):
        answer = peer.subscribe(channel, **SOON)
        assert (answer["ack"], answer["ack_timeout"], answer["max_attempts"]) == (True, SHORT_SECONDS, 3)

    def test_defaults_are_the_routers(self, channel, peer):
        """Sources 2.3: 30 seconds, and three retries after the first delivery."""
        answer = peer.subscribe(channel, ack=True)
        assert (answer["ack_timeout"], answer["max_attempts"]) == (30, 4)

    @pytest.mark.parametrize("fields", [
        {"ack": "yes"}, {"ack": 1}, {"ack_timeout": 5}, {"max_attempts": 5}, {"ack": False, "ack_timeout": 5},
        {"ack": True, "ack_timeout": 0}, {"ack": True, "ack_timeout": -1}, {"ack": True, "ack_timeout": 3601},
        {"ack": True, "ack_timeout": "5"}, {"ack": True, "max_attempts": 0}, {"ack": True, "max_attempts": 101},
        {"ack": True, "max_attempts": 1.5},
    ])  # fmt: skip
    def test_wrong_field_is_an_error(self, hub, channel, peer, fields):
        error = peer.command("subscribe", channel=channel, **fields)
        assert error["type"] == "error" and error["message"], fields
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 0

    def test_pattern_is_an_error(self, channel, peer):
        assert peer.command("subscribe", pattern=f"{channel}.*", ack=True)["type"] == "error"

    def test_without_it_nothing_comes_again(self, hub, channel, peer):
        peer.subscribe(channel)
        asking = V1(hub.port)
        asking.subscribe(channel, **SOON)
        hub.publish(channel, {"n": 1})
        for attempt in (1, 2, 3):
            assert asking.event()["attempt"] == attempt
        assert set(peer.event()) == {"type", "channel", "id", "event"}
        peer.gets_only(hub, channel)


class TestAcknowledging:
    def test_acknowledged_event_does_not_come_again(self, hub, channel, peer):
        answer = peer.subscribe(channel, id="mine \"\\", **SOON)
        assert answer["id"] == "mine \"\\"
        position = hub.publish(channel, {"n": 1})["id"]
        event = peer.event()
        assert set(event) == {"type", "channel", "id", "event", "attempt", "subscription"}
        assert (event["id"], event["subscription"], event["attempt"]) == (position, "mine \"\\", 1)
        acked = peer.command("ack", channel=channel, id=position)
        assert (acked["type"], acked["count"], acked["in_flight"], acked["position"]) == ("acked", 1, 0, position)
        other = V1(hub.port)  # whose second delivery tells that the time is over
        other.subscribe(channel, **(SOON | {"ack_timeout": 2 * SHORT_SECONDS, "max_attempts": 2}))
        second = hub.publish(channel, {"n": 2})["id"]
        assert peer.event()["event"] == {"n": 2}
        peer.command("ack", channel=channel, id=second)
        assert [other.event()["attempt"] for _ in range(2)] == [1, 2]
        peer.gets_only(hub, channel)
        assert position not in {letter["position"] for letter in letters(hub, channel=channel)}

    def test_many_at_once_and_twice(self, hub, channel, peer):
        peer.subscribe(channel, **PATIENT)
        ids = publish_many(hub, channel, 10)
        assert [peer.event()["id"] for _ in range(10)] == ids
        acked = peer.command("ack", channel=channel, ids=ids[1:7])
        assert (acked["count"], acked["in_flight"], acked["position"]) == (6, 4, shifted(ids[0], -1))
        assert peer.command("ack", channel=channel, ids=ids[5:])["count"] == 3, "two were acknowledged before"
        assert peer.command("ack", channel=channel, id=ids[0])["position"] == ids[-1]
        assert peer.command("ack", channel=channel, id=ids[0])["count"] == 0
        assert peer.command("ack", channel=channel, id=shifted(ids[-1], 5))["count"] == 0, "never sent"

    def test_all_up_to_one(self, hub, channel, peer):
        peer.subscribe(channel, **PATIENT)
        ids = publish_many(hub, channel, 10)
        assert [peer.event()["id"] for _ in range(10)] == ids
        acked = peer.command("ack", channel=channel, up_to=ids[6])
        assert (acked["count"], acked["in_flight"], acked["position"]) == (7, 3, ids[6])

    def test_channel_may_be_left_out(self, hub, channel, peer):
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
        {}, {"id": 5}, {"id": "x"}, {"ids": []}, {"ids": "x"}, {"ids": [5]}, {"ids": ["12345678-1"] * 1001},
        {"id": "12345678-1", "channel": "a b"}, {"id": "12345678-1", "channel": 5},
        {"id": "12345678-1", "ids": ["12345678-1"]}, {"up_to": 5},
    ])  # fmt: skip
    def test_malformed_is_an_error_and_the_socket_stays(self, hub, channel, peer, fields):
        peer.subscribe(channel, **PATIENT)
        for kind in ("ack", "nack"):
            error = peer.command(kind, **({"channel": channel} | fields))
            assert error["type"] == "error" and error["message"], error
        peer.gets_only(hub, channel)

    def test_ack_of_another_connection_counts_nothing(self, hub, channel, peer):
        peer.subscribe(channel, **PATIENT)
        stranger = V1(hub.port)
        stranger.subscribe(channel)
        position = hub.publish(channel, {"n": 1})["id"]
        assert stranger.command("ack", channel=channel, id=position)["count"] == 0
        assert peer.command("ack", channel=channel, id=position)["count"] == 1


class TestRedelivery:
    def test_comes_again_after_the_timeout_up_to_the_limit(self, hub, channel, peer):
        peer.subscribe(channel, id="mine", **SOON)
        started = time.monotonic()
        position = hub.publish(channel, {"n": 1, "x": 1.50})["id"]
        deliveries = [peer.event() for _ in range(3)]
        assert time.monotonic() - started > 2 * SHORT_SECONDS * 0.9
        assert [(event["id"], event["attempt"]) for event in deliveries] == [(position, n) for n in (1, 2, 3)]
        assert {str(event["event"]) for event in deliveries} == {str({"n": 1, "x": 1.50})}
        wait_until(lambda: letters(hub, channel=channel), what="the dead letter")
        peer.gets_only(hub, channel)
        letter = letters(hub, channel=channel)[0]
        assert (letter["reason"], letter["position"]) == ("unacknowledged", position)
        assert (letter["attempts"], letter["subscription"]) == (3, "mine")
        assert letter["event"] == {"n": 1, "x": 1.50}

    def test_count_goes_on_when_it_dies_again(self, hub, channel, peer):
        peer.subscribe(channel, **SOON)
        hub.publish(channel, {"n": 1})
        for attempts in (3, 6):
            assert [peer.event()["attempt"] for _ in range(3)] == [1, 2, 3]
            letter = wait_until(lambda: letters(hub, channel=channel), what="the letter")[0]
            assert (letter["attempts"], letter["retries"]) == (attempts, attempts // 3 - 1)
            said = hub.post(f"/dead-letters/retry?id={letter['id']}", b"").json()
            assert said["retried"] == 1, said
        peer.command("ack", id=peer.event()["id"])

    def test_ack_of_a_later_attempt_ends_it(self, hub, channel, peer):
        peer.subscribe(channel, **SOON)
        position = hub.publish(channel, {"n": 1})["id"]
        assert [peer.event()["attempt"] for _ in range(2)] == [1, 2]
        assert peer.command("ack", channel=channel, id=position)["count"] == 1
        second = V1(hub.port)
        second.subscribe(channel, **SOON)
        hub.publish(channel, {"n": 2})
        assert [second.event()["attempt"] for _ in range(3)] == [1, 2, 3]
        wait_until(lambda: len(letters(hub, channel=channel)) == 2, what="both have given up on the second")
        assert position not in {letter["position"] for letter in letters(hub, channel=channel)}

    def test_first_deliveries_keep_their_order_meanwhile(self, hub, channel, peer):
        peer.subscribe(channel, **(SOON | {"max_attempts": 2}))
        publish_many(hub, channel, 20)
        first, again = [], []
        while len(again) < 20:
            event = peer.event()
            (first if event["attempt"] == 1 else again).append(event["event"]["n"])
        assert first == list(range(20)) and again == list(range(20))

    def test_each_subscriber_has_its_own_count(self, hub, channel):
        peers = [V1(hub.port) for _ in range(4)]
        for peer in peers:
            peer.subscribe(channel, **SOON)
        position = hub.publish(channel, {"n": 1})["id"]
        for peer in peers[:2]:
            peer.event()
            assert peer.command("ack", channel=channel, id=position)["count"] == 1
        for peer in peers[2:]:
            assert [peer.event()["attempt"] for _ in range(3)] == [1, 2, 3]
        wait_until(lambda: len(letters(hub, channel=channel)) == 2, what="two letters")

    def test_nack_brings_it_back_at_once(self, hub, channel, peer):
        peer.subscribe(channel, **(PATIENT | {"max_attempts": 3}))
        position = hub.publish(channel, {"n": 1})["id"]
        for attempt in (1, 2, 3):
            assert peer.event()["attempt"] == attempt
            assert peer.command("nack", channel=channel, id=position)["count"] == 1
        letter = wait_until(lambda: letters(hub, channel=channel), what="no attempt is left")[0]
        assert (letter["reason"], letter["attempts"]) == ("rejected", 3)

    def test_nack_with_dead_is_a_letter_now(self, hub, channel, peer):
        peer.subscribe(channel, **PATIENT)
        position = hub.publish(channel, {"n": 1})["id"]
        peer.event()
        peer.command("nack", channel=channel, id=position, dead=True)
        letter = wait_until(lambda: letters(hub, channel=channel), what="the letter")[0]
        assert (letter["reason"], letter["attempts"]) == ("rejected", 1)

    def test_replayed_events_want_acknowledgements_too(self, hub, channel, peer):
        ids = publish_many(hub, channel, 5)
        answer = peer.subscribe(channel, after=ids[1], **(SOON | {"max_attempts": 2}))
        assert answer["recovered"] is True
        got = [peer.event() for _ in range(3)]
        assert [(event["id"], event["attempt"]) for event in got] == [(position, 1) for position in ids[2:]]
        assert peer.command("ack", channel=channel, ids=ids[2:4])["count"] == 2
        again = peer.event()
        assert (again["id"], again["attempt"]) == (ids[4], 2)

    def test_event_whose_time_is_over_does_not_come_again(self, hub, channel, peer):
        peer.subscribe(channel, **SOON)
        hub.post("/publish", {"channel": channel, "data": {"n": 1}, "ttl": 0.1})
        last = hub.publish(channel, {"n": 2})["id"]
        assert [peer.event()["event"]["n"] for _ in range(3)] == [1, 2, 2]
        assert peer.command("ack", channel=channel, id=last) | {"ref": 0} == {
            "type": "acked", "ref": 0, "count": 1, "in_flight": 0, "position": last,
        }  # fmt: skip

    def test_compression_is_no_hindrance(self, hub, channel):
        fields = {"Sec-WebSocket-Extensions": "permessage-deflate"}
        peer = V1(hub.port, headers=fields)
        peer.subscribe(channel, **(SOON | {"max_attempts": 2}))
        hub.publish(channel, {"fill": "x" * 5000})
        assert [(e["attempt"], len(e["event"]["fill"])) for e in (peer.event(), peer.event())] == [(1, 5000), (2, 5000)]


class TestEnd:
    def test_leaving_forgets_and_resuming_brings_it_back(self, hub, channel, peer):
        peer.subscribe(channel, **SOON)
        ids = publish_many(hub, channel, 3)
        for _ in range(3):
            peer.event()
        place = peer.command("ack", channel=channel, id=ids[0])["position"]
        assert place == ids[0]
        leaver = V1(hub.port)
        leaver.subscribe(channel, after=place, **SOON)
        leaver.reset()
        peer.unsubscribe(channel=channel)
        back = V1(hub.port)
        assert back.subscribe(channel, after=place, **SOON)["recovered"] is True
        got = [back.event() for _ in range(2)]
        assert [(event["id"], event["attempt"]) for event in got] == [(ids[1], 1), (ids[2], 1)]
        assert back.command("ack", channel=channel, ids=ids[1:])["count"] == 2
        assert letters(hub, channel=channel) == []

    def test_unsubscribing_ends_the_redelivery(self, hub, channel, peer):
        peer.subscribe(channel, **SOON)
        other = V1(hub.port)
        other.subscribe(channel, **SOON)
        hub.publish(channel, {"n": 1})
        peer.event()
        peer.unsubscribe(channel=channel)
        assert [other.event()["attempt"] for _ in range(3)] == [1, 2, 3]
        peer.subscribe(channel)
        peer.gets_only(hub, channel)
        wait_until(lambda: len(letters(hub, channel=channel)) == 1, what="only the other's letter")

    @pytest.mark.parametrize("shards", [1, 3])
    def test_full_window_waits_for_acknowledgements_and_loses_nothing(self, start_courier, shards):
        """Beyond the window events stay in the history; others are not held up; each acknowledgement lets more come."""
        courier = start_courier({"outbox.events": 16, "history.size": 1000, "shards": shards})
        slow, fine = V1(courier.port), Speaker(courier.port, "/ws/a")
        slow.subscribe("a", **PATIENT)
        reached = [courier.publish("a", {"n": n})["clients_reached"] for n in range(200)]
        assert fine.bodies(200) == [{"n": n} for n in range(200)]
        assert reached[0] == 2 and reached[-1] == 1
        got = []
        while len(got) < 200:
            event = slow.event()
            got.append((event["event"]["n"], event["attempt"]))
            if len(got) % 7 == 0 or len(got) > 190:
                assert slow.command("ack", up_to=event["id"])["in_flight"] <= 16
        assert got == [(n, 1) for n in range(200)]
        wait_until(lambda: slow.command("ack", up_to=shifted(event["id"], 0))["in_flight"] == 0, what="all settled")
        live = courier.publish("a", {"n": 200})
        assert live["clients_reached"] == 2 and slow.event()["event"] == {"n": 200}

    def test_one_who_never_acknowledges_is_cut_off_when_history_has_left_it(self, start_courier):
        courier = start_courier({"outbox.events": 16, "history.size": 50})
        stuck = V1(courier.port)
        stuck.subscribe("a", **PATIENT)
        ids = publish_many(courier, "a", 100)
        assert [stuck.event()["id"] for _ in range(16)] == ids[:16]
        stuck.say({"type": "ack", "up_to": ids[15]})
        assert stuck.close_frame().code == 1013

    def test_one_who_acknowledges_is_never_cut(self, start_courier):
        courier = start_courier({"outbox.events": 16})
        peer = V1(courier.port)
        peer.subscribe("a", **PATIENT)
        for n in range(300):
            courier.publish("a", {"n": n})
            event = peer.event()
            assert event["event"] == {"n": n} and event["attempt"] == 1
            peer.say({"type": "ack", "channel": "a", "id": event["id"]})
        assert peer.command("ping")["type"] == "pong"

    def test_what_was_not_acknowledged_comes_after_kill_9(self, start_courier, tmp_path):
        first = start_courier(durable(tmp_path) | {"shards": 2})
        peer = V1(first.port)
        peer.subscribe("a", **PATIENT)
        ids = publish_many(first, "a", 10)
        for _ in range(10):
            peer.event()
        place = peer.command("ack", up_to=ids[3])["position"]
        kill(first)
        back = V1(start_courier(durable(tmp_path) | {"shards": 2}).port)
        assert back.subscribe("a", after=place, **PATIENT)["recovered"] is True
        assert [offset(back.event()["id"]) for _ in range(6)] == [offset(position) for position in ids[4:]]
