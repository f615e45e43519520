"""Slow consumers by the channel's option (contract 10): disconnect, drop_oldest, conflate; gaps are told; nobody waits."""

import json
import signal

import pytest

from support.flood import EVENTS_BEYOND_BUFFERS, FILL, SMALL_BUFFER_BYTES, flood, offset
from support.frames import CLOSE, PING, PONG, TEXT, PeerClosed, close_payload, encode
from support.process import wait_until
from support.speakers import V1, Speaker
from support.sse import EventStream

CONFIG = """
channel_options:
  - {match: 'cut.**', slow: disconnect}
  - {match: 'drop.**', slow: drop_oldest}
  - {match: 'keep.**', slow: conflate}
"""
OUTBOX_EVENTS = 64
BYTES_BEYOND_BUFFERS = 8 << 20  # where a send buffer grows to 4 MiB at most
ANSWERS_BYTES_MAX = 64 << 10  # of answers that wait for one who asks and does not read
SETTINGS = {"outbox.events": OUTBOX_EVENTS, "outbox.bytes": 16 << 20}
pytestmark = pytest.mark.serial


@pytest.fixture
def courier(start_courier):
    return start_courier(SETTINGS, config=CONFIG)


def stalled(courier, channel: str) -> V1:
    peer = V1(courier.port, receive_buffer=SMALL_BUFFER_BYTES)
    peer.subscribe(channel)
    return peer


def read_until(peer: V1, last) -> list[dict]:
    """All messages up to the event whose `n` is `last`."""
    messages = []
    while not messages or messages[-1].get("event", {}).get("n") != last:
        messages.append(peer.hear())
    return messages


def read_until_close(peer: V1):
    """All messages up to the close frame, and that."""
    messages = []
    while (frame := peer.next()).opcode != CLOSE:
        messages.append(json.loads(frame.payload))
    return messages, frame


def wait_until_it_ends(courier, channel: str):
    """Waits until nobody is a client of this channel any more, though a socket that ends may have read nothing yet."""
    wait_until(lambda: courier.get("/channels").json()["channels"].get(channel, 0) == 0)


def events(messages: list[dict]) -> list[dict]:
    return [message for message in messages if message["type"] == "event"]


def told_lost(messages: list[dict]) -> set[int]:
    """The offsets that gap messages name, from and to included."""
    gaps = [message for message in messages if message["type"] == "gap"]
    return {n for gap in gaps for n in range(offset(gap["from"]), offset(gap["to"]) + 1)}


async def test_drop_oldest_keeps_the_newest_and_tells_the_gap(courier):
    peer = stalled(courier, "drop.a")
    ids = await flood(courier, "drop.a")
    messages = read_until(peer, EVENTS_BEYOND_BUFFERS - 1)
    got = [offset(event["id"]) for event in events(messages)]
    assert got == sorted(set(got)), "in order, none twice"
    lost = {offset(position) for position in ids} - set(got)
    assert lost and lost <= told_lost(messages), "every loss is told"
    assert [offset(position) for position in ids[-OUTBOX_EVENTS // 2 :]] == got[-OUTBOX_EVENTS // 2 :]
    assert all(gap["channel"] == "drop.a" for gap in messages if gap["type"] == "gap")
    assert courier.publish("drop.a", {"n": "end"})["clients_reached"] == 1
    assert peer.body() == {"n": "end"}, "the socket was never closed"


async def test_what_was_lost_is_told_before_a_stop_closes_a_socket_that_took_nothing(start_courier):
    """The gap waited for the socket to take bytes again, and was never told when the server stopped before that."""
    courier = start_courier(SETTINGS | {"shutdown.grace": 0}, config=CONFIG)
    peer = stalled(courier, "drop.a")
    ids = await flood(courier, "drop.a")
    courier.signal(signal.SIGTERM)
    wait_until_it_ends(courier, "drop.a")
    messages, frame = read_until_close(peer)
    got = {offset(event["id"]) for event in events(messages)}
    lost = {offset(position) for position in ids} - got
    assert lost and lost <= told_lost(messages), "every loss is told"
    assert messages[-1]["type"] == "shutdown" and frame.code == 1001
    assert courier.wait_exit() == 0


async def test_what_was_lost_is_told_before_the_close_of_a_peer_is_answered(courier):
    peer = stalled(courier, "drop.a")
    ids = await flood(courier, "drop.a")
    peer.frame(CLOSE, close_payload(1000))
    wait_until_it_ends(courier, "drop.a")
    messages, frame = read_until_close(peer)
    lost = {offset(position) for position in ids} - {offset(event["id"]) for event in events(messages)}
    assert lost and lost <= told_lost(messages), "every loss is told"
    assert frame.code == 1000 and peer.ends()


async def test_what_was_lost_is_told_before_a_socket_is_cut(start_courier):
    """The words for a loss waited behind an event half on the wire; the cut threw them away with the queue."""
    courier = start_courier(SETTINGS | {"max_event_size": 16 << 20}, config=CONFIG)
    peer = V1(courier.port, receive_buffer=1 << 18)
    peer.subscribe("drop.a")
    peer.subscribe("cut.a")
    ids = [courier.publish("drop.a", {"n": "large", "fill": "x" * BYTES_BEYOND_BUFFERS})["id"]]
    ids += [courier.publish("drop.a", {"n": n})["id"] for n in range(OUTBOX_EVENTS + 9)]
    while not sum(shard["gaps"] for shard in courier.stats()["shards"]):
        peer.unread += peer.socket.recv(1 << 20)
    assert courier.publish("cut.a", {"n": "no room"})["clients_reached"] == 0
    wait_until_it_ends(courier, "drop.a")
    messages, frame = read_until_close(peer)
    assert [event["event"]["n"] for event in events(messages)] == ["large"], "what waited goes with the queue"
    assert told_lost(messages) == {offset(position) for position in ids[1:11]}, "what was lost before is told"
    assert (frame.code, frame.reason) == (1013, "Slow consumer")


async def test_drop_oldest_loses_only_of_the_one_that_is_slow(courier, clients):
    peer = stalled(courier, "drop.a")
    readers = [await clients.python(courier.socket_url("/ws/drop.a")) for _ in range(3)]
    for start in range(0, EVENTS_BEYOND_BUFFERS, 20):
        await flood(courier, "drop.a", 20, start=start)
        for reader in readers:
            await reader.until(start + 20)
    for reader in readers:
        assert [event["n"] for event in reader.events()] == list(range(EVENTS_BEYOND_BUFFERS))
    assert told_lost(read_until(peer, EVENTS_BEYOND_BUFFERS - 1))


async def test_drop_oldest_without_a_dialect_that_tells(courier):
    peer = Speaker(courier.port, "/ws/drop.a", receive_buffer=SMALL_BUFFER_BYTES)
    await flood(courier, "drop.a")
    numbers = []
    while not numbers or numbers[-1] != EVENTS_BEYOND_BUFFERS - 1:
        numbers.append(peer.event()["n"])
    assert numbers == sorted(set(numbers)) and len(numbers) < EVENTS_BEYOND_BUFFERS


async def test_close_is_answered_however_many_answers_wait(courier):
    """The answer to a close found no room among those that waited already, and the socket ended without a close frame."""
    peer = Speaker(courier.port, "/ws/drop.a", receive_buffer=SMALL_BUFFER_BYTES)
    await flood(courier, "drop.a")  # its socket takes nothing any more
    pongs = ANSWERS_BYTES_MAX // len(encode(TEXT, b"pong", mask=None))
    assert ANSWERS_BYTES_MAX - pongs * len(encode(TEXT, b"pong", mask=None)) == 4
    peer.frame(PING).send(encode(TEXT, b"ping") * pongs)
    peer.frame(CLOSE, close_payload(1000))  # its answer has 4 bytes, and there are 2
    wait_until_it_ends(courier, "drop.a")
    frames = []
    while not frames or frames[-1].opcode != CLOSE:
        frames.append(peer.next())
    assert frames[-1].code == 1000
    assert sum(frame.opcode == PONG or frame.payload == b"pong" for frame in frames) == 1 + pongs
    assert peer.ends()


async def test_conflate_keeps_the_latest_of_each_key(courier):
    """Ten keys, updated in turn: after a stall the last of each is there, and far fewer than all."""
    peer, keys, rounds = stalled(courier, "keep.a"), 10, EVENTS_BEYOND_BUFFERS // 10
    for round_number in range(rounds):
        for key in range(keys):
            courier.publish("keep.a", {"n": round_number * keys + key, "key": f"k{key}", "fill": FILL})
    messages = read_until(peer, EVENTS_BEYOND_BUFFERS - 1)
    numbers = [event["event"]["n"] for event in events(messages)]
    assert len(numbers) < EVENTS_BEYOND_BUFFERS
    for key in range(keys):
        of_key = [n for n in numbers if n % keys == key]
        assert of_key == sorted(of_key) and of_key[-1] == (rounds - 1) * keys + key, "the latest of each key comes"


async def test_conflate_keeps_a_key_that_is_rare(courier):
    """One busy key fills the queue; the single event of another key is not the one that goes."""
    peer = stalled(courier, "keep.a")
    await flood(courier, "keep.a", EVENTS_BEYOND_BUFFERS // 2 + 200, key="busy")
    courier.publish("keep.a", {"n": "rare", "key": "rare"})
    await flood(courier, "keep.a", EVENTS_BEYOND_BUFFERS // 2, start=5000, key="busy")
    messages = read_until(peer, 5000 + EVENTS_BEYOND_BUFFERS // 2 - 1)
    assert "rare" in [event["event"]["n"] for event in events(messages)]


async def test_conflate_without_keys_drops_the_oldest(courier):
    peer = stalled(courier, "keep.a")
    await flood(courier, "keep.a")
    numbers = [event["event"]["n"] for event in events(read_until(peer, EVENTS_BEYOND_BUFFERS - 1))]
    assert numbers == sorted(set(numbers)) and len(numbers) < EVENTS_BEYOND_BUFFERS


async def test_lowest_priority_is_dropped_first(courier):
    peer = stalled(courier, "drop.a")
    await flood(courier, "drop.a")  # the queue is full of normal ones
    for n in range(10):
        body = {"channel": "drop.a", "data": {"n": f"urgent{n}", "fill": FILL}, "priority": 9}
        assert courier.post("/publish", body).status == 200
    await flood(courier, "drop.a", 300, start=5000)
    numbers = [event["event"]["n"] for event in events(read_until(peer, 5299))]
    assert [n for n in numbers if isinstance(n, str)] == [f"urgent{n}" for n in range(10)]


async def test_disconnect_closes_1013_with_the_reason(courier):
    peer = stalled(courier, "cut.a")
    await flood(courier, "cut.a")
    courier.await_clients(0)
    numbers, close = [], None
    try:
        while (frame := peer.next()).opcode != CLOSE:
            numbers.append(json.loads(frame.payload)["event"]["n"])
        close = (frame.code, frame.reason)
    except PeerClosed:
        pass
    assert numbers == list(range(len(numbers))) and len(numbers) < EVENTS_BEYOND_BUFFERS
    assert close in ((1013, "Slow consumer"), None), "a cut connection may end before the reason fits in"


async def test_slow_event_stream_is_ended_or_drops_by_the_same_options(courier):
    cut = EventStream(courier.port, "/sse/cut.a", receive_buffer=SMALL_BUFFER_BYTES)
    drop = EventStream(courier.port, "/sse/drop.a", receive_buffer=SMALL_BUFFER_BYTES)
    await flood(courier, "cut.a")
    await flood(courier, "drop.a")
    assert len(cut.end()) < EVENTS_BEYOND_BUFFERS
    numbers = []
    while not numbers or numbers[-1] != EVENTS_BEYOND_BUFFERS - 1:
        numbers.append(drop.event().json()["n"])
    assert numbers == sorted(set(numbers)) and len(numbers) < EVENTS_BEYOND_BUFFERS


async def test_memory_stays_bounded_with_many_that_drop(courier):
    peers = [stalled(courier, "drop.a") for _ in range(40)]
    await flood(courier, "drop.a", 50)
    before = courier.resident_bytes()
    await flood(courier, "drop.a", 1000)
    assert courier.resident_bytes() - before < 96 << 20
    assert courier.publish("drop.a", {"n": 1})["clients_reached"] == len(peers)
    for peer in peers:
        peer.socket.close()
    wait_until(lambda: courier.stats()["active_clients"] == 0, what="all have left")


async def test_socket_with_channels_of_two_rules_follows_each(courier):
    """A flood on a channel that drops does not cut the socket; one on a channel that disconnects does."""
    peer = stalled(courier, "drop.a")
    peer.subscribe("cut.a")
    await flood(courier, "drop.a")
    assert courier.stats()["active_clients"] == 1
    await flood(courier, "cut.a")
    courier.await_clients(0)
    peer.socket.close()
