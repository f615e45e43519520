"""Resume beside live events (contract 11): no hole and no double while publishes never cease; paced, bounded, in order."""

import asyncio
import json
import random

import pytest

from support.flood import SMALL_BUFFER_BYTES, offset
from support.frames import PeerClosed
from support.history import publish_filled, told_lost
from support.speakers import V1, Arcane, Speaker
from support.web import Publisher

RICH = {"history.size": 20_000}
STUCK = 100


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
        courier = start_courier(RICH)
        start = courier.publish("a", {"n": -1})["id"]
        publish_filled(courier, "a", range(2000), 5000)
        for peer in (Speaker(courier.port, f"/ws/a?after={start}"), Arcane(courier.port, f"a?after={start}")):
            assert [event["n"] for event in peer.bodies(2000)] == list(range(2000))

    def test_higher_priority_does_not_overtake_the_replay(self, start_courier):
        courier = start_courier(RICH)
        first = publish_filled(courier, "a", range(1500), 8000)[0]
        peer = V1(courier.port, receive_buffer=SMALL_BUFFER_BYTES)
        peer.subscribe("a", after=first)
        for n in range(1500, 1520):
            assert courier.post("/publish", {"channel": "a", "data": {"n": n}, "priority": 10}).status == 200
        assert [event["n"] for event in peer.bodies(1519)] == list(range(1, 1520))

    @pytest.mark.serial
    def test_those_who_ask_and_do_not_read_cost_little_and_delay_nobody(self, start_courier):
        courier, count = start_courier(RICH), 1000
        first = publish_filled(courier, "a", range(count), 8000)[0]
        before = courier.resident_bytes()
        target, stuck = f"/ws/a?after={first}", []
        for _ in range(STUCK):
            stuck.append(Speaker(courier.port, target, receive_buffer=SMALL_BUFFER_BYTES))
        reader = Speaker(courier.port, target)
        assert [event["n"] for event in reader.bodies(count - 1)] == list(range(1, count))
        reader.gets_only(courier, "a")
        assert courier.resident_bytes() - before < STUCK * (256 << 10), "a chunk of handles each, not 8 MB"
        for peer in stuck[::20]:
            assert [event["n"] for event in peer.bodies(count - 1)] == list(range(1, count)), "late, and whole"

    def test_those_who_leave_in_the_middle_leave_nothing_behind(self, start_courier):
        courier = start_courier(RICH)
        first = publish_filled(courier, "a", range(2000), 100)[0]
        for _ in range(50):
            V1(courier.port).say({"type": "subscribe", "channel": "a", "after": first}).reset()
            Speaker(courier.port, f"/ws/a?after={first}").reset()
        courier.await_clients(0)
        peer = Speaker(courier.port, f"/ws/a?after={first}")
        assert [event["n"] for event in peer.bodies(1999)] == list(range(1, 2000))
        assert courier.publish("a", {"n": "end"})["clients_reached"] == 1

    def test_slow_reader_of_a_replay_that_history_outruns_is_told(self, start_courier):
        """It asked for 400 events of 30 KB and read none while 600 others came: what went is a gap, the rest in order."""
        courier = start_courier({"history.size": 400, "outbox.events": 10_000, "outbox.bytes": 64 << 20})
        first = publish_filled(courier, "a", range(400), 30_000)[0]
        peer = V1(courier.port, receive_buffer=SMALL_BUFFER_BYTES)
        peer.subscribe("a", after=first)
        publish_filled(courier, "a", range(400, 1000), 30_000)
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
        assert told_lost(gaps) == {offset(first) + n for n in range(1, 1000)} - {offset(first) + n for n in got}
