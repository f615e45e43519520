"""Resume beside live events (contract 11): no hole and no double while publishes never cease; paced, bounded, in order."""

import asyncio
import json
import random

import pytest

from support.flood import SMALL_BUFFER_BYTES, offset
from support.frames import PeerClosed
from support.history import publish_many, told_lost
from support.speakers import V1, Arcane, Speaker
from support.web import Publisher, RawConnection, encode_publish

RICH = {"history.size": 20_000}


class Stream:
    """Publishers that never rest, on channels of both shards, until told to stop."""

    def __init__(self, courier, channels: list[str]):
        self.courier, self.channels = courier, channels
        self.ids: dict[str, list[str]] = {name: [] for name in channels}
        self.running = True

    async def run(self, number: int, of: int):
        publisher = await Publisher.open(self.courier.port)
        while self.running:
            for name in self.channels[number::of]:
                self.ids[name].append((await publisher.publish(name, {"n": len(self.ids[name])}))["id"])
        publisher.close()

    async def __aenter__(self):
        self.tasks = [asyncio.create_task(self.run(number, 2)) for number in range(2)]
        while any(len(ids) < 20 for ids in self.ids.values()):
            await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_):
        self.running = False
        await asyncio.gather(*self.tasks)


class TestJoiningLive:
    """The first live event follows the last replayed one, on either shard, while publishes never cease."""

    @pytest.mark.parametrize("dialect", ["courier", "courier.v1", "events"])
    async def test_no_hole_and_no_double(self, start_courier, clients, dialect):
        courier = start_courier(RICH)
        names = [f"live.{n}" for n in range(4)]
        path = {"events": "/ws/events/{}?after={}"}.get(dialect, "/ws/{}?after={}")
        options = {"subprotocols": ["courier.v1"]} if dialect == "courier.v1" else {}
        dice = random.Random(dialect)
        async with Stream(courier, names) as stream:
            for turn in range(24):
                name = names[turn % 4]
                start = len(stream.ids[name]) - 1 - dice.randrange(20 if turn % 2 else 0, 300 if turn % 2 else 1)
                start = max(start, 0)
                url = courier.socket_url(path.format(name, stream.ids[name][start]))
                socket = await clients.python(url, **options)
                joined = len(stream.ids[name])
                wanted = joined + 30 - start
                await socket.wait_for(lambda: len(self.got(socket)) >= wanted or socket.code is not None)
                got = self.got(socket)
                assert got == list(range(start + 1, start + 1 + len(got))), (dialect, start, got)
                await socket.close()

    @staticmethod
    def got(socket) -> list[int]:
        events = [json.loads(message) for message in socket.messages]
        events = [event["event"] if event.get("type") == "event" else event for event in events]
        return [event["n"] for event in events if "n" in event]

    async def test_recovered_is_said_truly_and_replayed_is_the_number(self, start_courier, clients):
        """Everything up to `position` is the replay: as many as `replayed` says, unless filters take some."""
        courier = start_courier(RICH)
        async with Stream(courier, ["live.a", "live.b"]) as stream:
            for turn in range(16):
                name = ["live.a", "live.b"][turn % 2]
                ids = stream.ids[name]
                start = max(0, len(ids) - 150)
                socket = await clients.python(courier.socket_url("/ws"), subprotocols=["courier.v1"])
                await socket.send(json.dumps({"type": "subscribe", "ref": 1, "channel": name, "after": ids[start]}))
                await socket.until(len(ids) - start + 40)
                said = [json.loads(message) for message in socket.messages[1:]]
                answer = said.pop(0)
                assert (answer["type"], answer["recovered"]) == ("subscribed", True), answer
                offsets = [offset(event["id"]) for event in said]
                first = offset(ids[start]) + 1
                assert offsets == list(range(first, first + len(offsets)))
                assert answer["replayed"] == offset(answer["position"]) - first + 1
                await socket.close()

    async def test_hundreds_return_at_once(self, start_courier, clients):
        courier = start_courier(RICH)
        async with Stream(courier, ["live.a", "live.b"]) as stream:
            starts = {name: (len(ids), ids[-1]) for name, ids in stream.ids.items()}
            while any(len(stream.ids[name]) < start + 150 for name, (start, _) in starts.items()):
                await asyncio.sleep(0)
            urls = [f"/ws/{name}?after={position}" for name, (_, position) in starts.items()]
            sockets = await clients.many(lambda number: courier.socket_url(urls[number % 2]), 200, at_once=200)
        for number, socket in enumerate(sockets):
            name = ["live.a", "live.b"][number % 2]
            first, count = starts[name][0], len(stream.ids[name]) - starts[name][0]
            await socket.until(count)
            assert [event["n"] for event in socket.events()] == list(range(first, first + count))


class TestPace:
    def test_replay_larger_than_the_outbox_cuts_nobody_who_reads(self, start_courier):
        courier = start_courier(RICH | {"history.max_bytes": 256 << 20})
        start = courier.publish("a", {"n": -1})["id"]
        with RawConnection(courier.port) as connection:
            for n in range(3000):
                connection.send(encode_publish("a", b'{"n":%d,"fill":"%s"}' % (n, b"x" * 5000)))
                connection.reply()
        for path in (f"/ws/a?after={start}", f"/ws/events/a?after={start}"):
            peer = Speaker(courier.port, path) if "events" not in path else Arcane(courier.port, f"a?after={start}")
            assert [event["n"] for event in peer.bodies(3000)] == list(range(3000))

    def test_higher_priority_does_not_overtake_the_replay(self, start_courier):
        courier = start_courier(RICH)
        first = courier.publish("a", {"n": 0, "fill": ""})["id"]
        for n in range(1, 1500):
            courier.publish("a", {"n": n, "fill": "x" * 8000})
        peer = V1(courier.port, receive_buffer=SMALL_BUFFER_BYTES)
        peer.subscribe("a", after=first)
        for n in range(1500, 1520):
            assert courier.post("/publish", {"channel": "a", "data": {"n": n}, "priority": 10}).status == 200
        assert [event["n"] for event in peer.bodies(1519)] == list(range(1, 1520))

    @pytest.mark.serial
    def test_those_who_ask_and_do_not_read_cost_little_and_delay_nobody(self, start_courier):
        courier = start_courier(RICH)
        first = courier.publish("a", {"n": 0})["id"]
        for n in range(1, 2000):
            courier.publish("a", {"n": n, "fill": "x" * 8000})
        before = courier.resident_bytes()
        stuck = [Speaker(courier.port, f"/ws/a?after={first}", receive_buffer=SMALL_BUFFER_BYTES) for _ in range(200)]
        reader = Speaker(courier.port, f"/ws/a?after={first}")
        assert [event["n"] for event in reader.bodies(1999)] == list(range(1, 2000))
        reader.gets_only(courier, "a")
        assert courier.resident_bytes() - before < 200 * (1 << 18), "a chunk of handles each, not 16 MB"
        assert len(stuck) == 200

    def test_those_who_leave_in_the_middle_leave_nothing_behind(self, start_courier):
        courier = start_courier(RICH)
        ids = publish_many(courier, "a", 2000)
        for _ in range(50):
            V1(courier.port).say({"type": "subscribe", "channel": "a", "after": ids[0]}).reset()
            Speaker(courier.port, f"/ws/a?after={ids[0]}").reset()
        courier.await_clients(0)
        peer = Speaker(courier.port, f"/ws/a?after={ids[0]}")
        assert [event["n"] for event in peer.bodies(1999)] == list(range(1, 2000))
        assert courier.publish("a", {"n": "end"})["clients_reached"] == 1

    def test_slow_reader_of_a_replay_that_history_outruns_is_told(self, start_courier):
        """It asked for 400 events of 30 KB and read none while 400 others came: what went is a gap, the rest in order."""
        courier = start_courier({"history.size": 400, "outbox.events": 10_000, "outbox.bytes": 64 << 20})
        first = courier.publish("a", {"n": 0})["id"]
        for n in range(1, 400):
            courier.publish("a", {"n": n, "fill": "x" * 30_000})
        peer = V1(courier.port, receive_buffer=SMALL_BUFFER_BYTES)
        peer.subscribe("a", after=first)
        for n in range(400, 1000):
            courier.publish("a", {"n": n, "fill": "x" * 30_000})
        got, gaps = [], []
        try:
            while 999 not in got:
                message = peer.hear()
                gaps += [message] if message["type"] == "gap" else []
                got += [message["event"]["n"]] if message["type"] == "event" else []
        except PeerClosed as closed:
            assert "1013" in str(closed), closed
            assert got == list(range(1, len(got) + 1))
            return
        assert got == sorted(set(got))
        lost = {n for n in range(1, 1000)} - set(got)
        assert told_lost(gaps) == {offset(first) + n for n in lost}
