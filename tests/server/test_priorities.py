"""Priorities (contract 10): where a queue forms, a higher one goes first; equal ones keep their order; control is exempt."""

import json

import pytest

from support.flood import EVENTS_BEYOND_BUFFERS, ROOMY, SMALL_BUFFER_BYTES, flood
from support.frames import PING, PONG
from support.speakers import V1, FreqSearch, Speaker
from support.sse import EventStream

CONFIG = "channel_options: [{match: 'lane.**', priority: true}]\n"
OVERTAKEN_MIN = 100  # normal events that still waited when the urgent ones came


def publish(courier, channel: str, n, priority):
    answer = courier.post("/publish", {"channel": channel, "data": {"n": n, "p": priority}, "priority": priority})
    assert answer.status == 200, answer.body


def stalled_v1(courier, channel: str) -> V1:
    peer = V1(courier.port, receive_buffer=SMALL_BUFFER_BYTES)
    peer.subscribe(channel)
    return peer


def stalled_courier(courier, channel: str) -> Speaker:
    return Speaker(courier.port, f"/ws/{channel}", receive_buffer=SMALL_BUFFER_BYTES)


READERS = {"courier": stalled_courier, "v1": stalled_v1}


@pytest.mark.serial
@pytest.mark.parametrize("dialect", READERS)
async def test_higher_overtakes_and_equal_keeps_its_order(start_courier, dialect):
    courier = start_courier(ROOMY, config=CONFIG)
    peer = READERS[dialect](courier, "lane.a")
    await flood(courier, "lane.a")
    for n in range(5):
        for priority in (10, 7, 9, 6):
            publish(courier, "lane.a", f"{priority}.{n}", priority)
    publish(courier, "lane.a", "low", 1)
    bodies = peer.bodies(EVENTS_BEYOND_BUFFERS + 21)
    urgent = [body["n"] for body in bodies if body.get("p", 5) > 5]
    assert urgent == [f"{priority}.{n}" for priority in (10, 9, 7, 6) for n in range(5)]
    normal = [body["n"] for body in bodies if "p" not in body]
    assert normal == list(range(EVENTS_BEYOND_BUFFERS)), "nothing lost, nothing out of order"
    last_urgent = max(index for index, body in enumerate(bodies) if body.get("p", 5) > 5)
    assert last_urgent < len(bodies) - OVERTAKEN_MIN
    assert bodies[-1]["n"] == "low"


@pytest.mark.serial
async def test_higher_overtakes_in_a_stream(start_courier):
    courier = start_courier(ROOMY, config=CONFIG)
    stream = EventStream(courier.port, "/sse/lane.a", receive_buffer=SMALL_BUFFER_BYTES)
    await flood(courier, "lane.a")
    publish(courier, "lane.a", "urgent", 9)
    numbers = [sent.json()["n"] for sent in stream.events(EVENTS_BEYOND_BUFFERS + 1)]
    assert numbers.index("urgent") < len(numbers) - OVERTAKEN_MIN
    numbers.remove("urgent")
    assert numbers == list(range(EVENTS_BEYOND_BUFFERS))


@pytest.mark.serial
async def test_channels_of_one_socket_share_its_queue(start_courier):
    courier = start_courier(ROOMY, config=CONFIG)
    peer = stalled_v1(courier, "lane.calm")
    peer.subscribe("lane.busy")
    await flood(courier, "lane.busy")
    publish(courier, "lane.calm", "urgent", 9)
    events = [peer.event() for _ in range(EVENTS_BEYOND_BUFFERS + 1)]
    channels = [event["channel"] for event in events]
    assert channels.index("lane.calm") < len(events) - OVERTAKEN_MIN


def test_without_a_queue_order_is_publish_order(hub, channel):
    peer = Speaker(hub.port, f"/ws/{channel}")
    priorities = [5, 1, 10, 3, 9, 7, 2, 8, 4, 6]
    for priority in priorities:
        publish(hub, channel, priority, priority)
        assert peer.event()["p"] == priority


@pytest.mark.parametrize("name, number", [("LOWEST", 1), ("LOW", 3), ("NORMAL", 5), ("HIGH", 7), ("CRITICAL", 9), ("SYSTEM", 10)])
def test_names_and_numbers_are_the_same(hub, channel, name, number):
    peer = V1(hub.port)
    peer.subscribe(channel, priorities=[number])
    for priority in (name, number):
        publish(hub, channel, 1, priority)
    assert [body["p"] for body in peer.bodies(2)] == [name, number]


@pytest.mark.parametrize("priority", [0, 11, -1, 5.5, "URGENT", "high!", [], {}, True])
def test_what_is_no_priority_is_400(hub, channel, priority):
    answer = hub.post("/publish", {"channel": channel, "data": {"n": 1}, "priority": priority})
    assert answer.status == 400
    assert "/priority" in [fault["field"] for fault in answer.detail["validation_errors"]]


def test_priority_does_not_change_the_event(hub, channel):
    peer, everything = Speaker(hub.port, f"/ws/{channel}"), FreqSearch(hub.port)
    text = b'{"n" : 1, "priority": "mine"}'
    body = b'{"channel":"%s","data":%s,"priority":9}' % (channel.encode(), text)
    assert hub.post("/publish", body).status == 200
    assert peer.message().payload == text
    assert everything.hear_when(lambda m: m["data"] == json.loads(text))


def test_where_priorities_are_switched_off_every_event_is_normal(start_courier):
    courier = start_courier(config="channel_options: [{match: 'flat.*', priority: false}]\n")
    high, normal = V1(courier.port), V1(courier.port)
    for channel in ("flat.1", "hilly.1"):
        high.subscribe(channel, priorities=["high"])
        normal.subscribe(channel, priorities=["normal"])
        courier.post("/publish", {"channel": channel, "priority": "high", "data": {"on": channel}})
    assert normal.body() == {"on": "flat.1"}
    assert high.body() == {"on": "hilly.1"}
