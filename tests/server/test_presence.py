"""Presence of a channel where it is switched on (issue 4): count and list, join and leave events, over both shards."""

import json

import pytest

from support.process import wait_until
from support.speakers import V1, Speaker

NAMED_MAX = 200  # connections that one event names
CONFIG = "channel_options: [{match: 'room.*', presence: true}]\n"


@pytest.fixture
def courier(start_courier):
    return start_courier(config=CONFIG)


def is_presence(message: dict) -> bool:
    return message["type"] == "event" and message["event"].get("type", "").startswith("presence.")


def joins_and_leaves(peer: V1, count: int) -> list[tuple]:
    """The next `count` presence events as (kind, connection, count)."""
    told = []
    for _ in range(count):
        event = peer.body()
        assert event["channel"] and event["timestamp"]
        told.append((event["type"], event["connection"], event["count"]))
    return told


def presence_of(courier, count: int) -> dict | None:
    """The answer about room.1, once it is of so many."""
    answer = V1(courier.port).command("presence", channel="room.1")
    return answer if answer["count"] == count else None


class TestList:
    def test_tells_count_and_connections_of_all_cores(self, courier):
        peers = [V1(courier.port) for _ in range(8)]
        for peer in peers:
            peer.subscribe("room.1")
        answer = peers[0].command("presence", channel="room.1")
        assert answer["type"] != "error" and answer["count"] == 8
        assert all(peer.connection in json.dumps(answer) for peer in peers)

    def test_follows_those_who_leave(self, courier):
        stays, leaves, resets = V1(courier.port), V1(courier.port), V1(courier.port)
        for peer in (stays, leaves, resets):
            peer.subscribe("room.1")
        leaves.unsubscribe(channel="room.1")
        resets.reset()
        wait_until(lambda: stays.command("presence", channel="room.1")["count"] == 1, what="only one is there")
        answer = stays.command("presence", channel="room.1")
        assert stays.connection in json.dumps(answer)
        assert leaves.connection not in json.dumps(answer)

    def test_a_list_that_is_cut_says_so(self, courier):
        raw = [Speaker(courier.port, "/ws/room.1?types=none") for _ in range(1001)]
        answer = wait_until(lambda: presence_of(courier, 1001), what="all are there")
        assert (answer["count"], answer["total"], answer["truncated"]) == (1001, 1001, True)
        assert len(set(answer["connections"])) == 1000
        raw.pop().reset()
        answer = wait_until(lambda: presence_of(courier, 1000), what="one has left")
        assert answer["truncated"] is False and len(answer["connections"]) == 1000

    def test_of_an_empty_room_is_zero(self, courier):
        assert V1(courier.port).command("presence", channel="room.empty")["count"] == 0

    def test_all_dialects_are_counted(self, courier):
        peer, raw = V1(courier.port), Speaker(courier.port, "/ws/room.1")
        peer.subscribe("room.1")
        assert peer.command("presence", channel="room.1")["count"] == 2
        raw.leave()

    @pytest.mark.parametrize("fields", [{}, {"channel": 5}, {"channel": "a b"}, {"channel": "room.*"}])
    def test_bad_question_is_an_error(self, courier, fields):
        assert V1(courier.port).command("presence", **fields)["type"] == "error"


class TestEvents:
    def test_joins_and_leaves_are_told_with_the_count(self, courier):
        watcher, guest = V1(courier.port), V1(courier.port)
        watcher.subscribe("room.1")
        guest.subscribe("room.1")
        guest.unsubscribe(channel="room.1")
        told = []
        while not told or told[-1][0] != "presence.left":
            told += joins_and_leaves(watcher, 1)
        of_guest = [(kind, count) for kind, connection, count in told if connection == guest.connection]
        assert of_guest == [("presence.joined", 2), ("presence.left", 1)]

    def test_a_lost_socket_leaves_too(self, courier):
        watcher, guest = V1(courier.port), V1(courier.port)
        watcher.subscribe("room.1")
        guest.subscribe("room.1")
        guest.reset()
        told = []
        while not told or told[-1][0] != "presence.left":
            told += joins_and_leaves(watcher, 1)
        assert told[-1] == ("presence.left", guest.connection, 1)

    def test_names_the_channel_and_stays_on_it(self, courier):
        watcher, other = V1(courier.port), V1(courier.port)
        watcher.subscribe("room.1")
        other.subscribe("room.2")
        guest = V1(courier.port)
        guest.subscribe("room.1")
        event = watcher.hear_when(lambda m: is_presence(m) and m["event"]["connection"] == guest.connection)
        assert (event["channel"], event["event"]["channel"]) == ("room.1", "room.1")
        courier.publish("room.2", {"end": True})
        told = []
        while not told or told[-1] != {"end": True}:
            told.append(other.body())
        assert not [event for event in told if event.get("connection") == guest.connection]

    def test_raw_subscribers_get_them_as_events(self, courier):
        raw, guest = Speaker(courier.port, "/ws/room.1"), V1(courier.port)
        guest.subscribe("room.1")
        event = raw.hear_when(lambda m: m.get("connection") == guest.connection)
        assert (event["type"], event["channel"], event["count"]) == ("presence.joined", "room.1", 2)

    def test_filters_hold_for_them(self, courier):
        watcher, guest = V1(courier.port), V1(courier.port)
        watcher.subscribe("room.1", types=["chat"])
        guest.subscribe("room.1")
        courier.publish("room.1", {"type": "chat", "n": 1})
        assert watcher.body() == {"type": "chat", "n": 1}

    def test_every_join_is_told_once_and_counted_right(self, courier):
        watcher = V1(courier.port)
        watcher.subscribe("room.1")
        guests = [V1(courier.port) for _ in range(20)]
        for guest in guests:
            guest.subscribe("room.1")
        told = {}
        while len(told) < 20:
            kind, connection, count = joins_and_leaves(watcher, 1)[0]
            if connection != watcher.connection:
                assert kind == "presence.joined" and connection not in told
                told[connection] = count
        assert list(told.values()) == list(range(2, 22))
        assert set(told) == {guest.connection for guest in guests}


def test_many_who_leave_together_are_each_told_once(courier):
    watcher = V1(courier.port)
    watcher.subscribe("room.1")
    guests = [V1(courier.port) for _ in range(NAMED_MAX)]
    for guest in guests:
        guest.subscribe("room.1")
    names = {guest.connection for guest in guests}
    watcher.hear_when(lambda m: is_presence(m) and m["event"]["count"] == NAMED_MAX + 1)
    watcher.aside.clear()
    for guest in guests:
        guest.reset()
    left = []
    while len(left) < NAMED_MAX:
        event = watcher.body()
        assert event["type"] == "presence.left" and event["total"] == len(event["connections"])
        left += event["connections"]
    assert (len(left), set(left), event["count"]) == (NAMED_MAX, names, 1)


def test_where_it_is_off_nothing_is_told(courier):
    watcher, guest = V1(courier.port), V1(courier.port)
    watcher.subscribe("hall.1")
    guest.subscribe("hall.1")
    guest.leave()
    watcher.gets_only(courier, "hall.1")
