"""Durable channels (contract 11): what the answer says, restarts, kill -9, retention, and reading what memory gave up."""

import asyncio
import json
import random

import pytest

from support.flood import offset
from support.history import Join, numbers_of, offsets_of, page, pages, publish_filled, publish_many, shifted
from support.process import wait_until
from support.speakers import Speaker
from support.storage import durable, file_that_holds, kill, used_bytes
from support.streams import Streams
from support.web import Publisher, RawConnection, encode_publish, encode_request

MEGABYTE = 1 << 20


def answered_when_written(courier, channel: str, key: str) -> dict:
    """The answer to a repeat, which is told to come back while what it repeats is being written."""
    body = {"channel": channel, "data": {"n": 1}, "id": key}
    return wait_until(lambda: (answer := courier.post("/publish", body)).status == 200 and answer.json())


class TestAnswer:
    @pytest.mark.parametrize("fsync, stored", [("always", "disk"), ("interval", "memory"), ("never", "memory")])
    def test_says_where_the_event_is(self, start_courier, tmp_path, fsync, stored):
        courier = start_courier(durable(tmp_path / "data", fsync))
        assert courier.publish("a", {"n": 1})["stored"] == stored
        body = {"channel": "a", "data": {"n": 2}}
        assert courier.post("/publish", body).json()["stored"] == stored
        batch = courier.post("/publish/batch", json.dumps([body, body]).encode()).json()
        assert [item["stored"] for item in (batch if isinstance(batch, list) else batch["results"])] == [stored] * 2

    def test_channel_that_is_not_durable_never_says_disk(self, start_courier, tmp_path):
        config = "channel_options: [{match: 'kept.**', history: {durable: true}}]\n"
        courier = start_courier({"storage.dir": tmp_path / "data", "storage.fsync": "always"}, config=config)
        assert courier.publish("other", {"n": 1}).get("stored") != "disk"
        assert courier.publish("kept.a", {"n": 1})["stored"] == "disk"

    def test_repeat_of_an_id_says_the_same_and_stores_nothing(self, start_courier, tmp_path):
        courier = start_courier(durable(tmp_path / "data"))
        for n in range(20):
            body = {"channel": "a", "data": {"n": n}, "id": f"once-{n}"}
            first, again = (courier.post("/publish", body).json() for _ in range(2))
            assert (first["id"], first["stored"]) == (again["id"], again["stored"])
        assert len(page(courier, "a")["events"]) == 20

    def test_publisher_that_leaves_before_its_answer_finds_it_when_it_asks_again(self, start_courier, tmp_path):
        """What an idempotency key is for. The answer was forgotten with the connection, and a repeat was told neither that
        the event is on disk nor whom it had reached."""
        courier = start_courier(durable(tmp_path / "data"))
        peers = [Speaker(courier.port, f"/ws/{channel}") for channel in "ab" for _ in range(4)]
        for n in range(60):
            channel, key = "ab"[n % 2], b"Idempotency-Key: once-%d\r\n" % n
            with RawConnection(courier.port) as connection:
                connection.send(encode_request("GET", "/health/live") + encode_publish(channel, extra=key))
                connection.reply()
                connection.reset()
            again = lambda: answered_when_written(courier, channel, f"once-{n}")
            assert again()["stored"] == "disk", n
            # One that comes before the other core has told how many it reached counts its own.
            wait_until(lambda: again()["clients_reached"] == 4, what=f"all who heard event {n} are counted")
            assert again() == again()
        assert [len(page(courier, channel)["events"]) for channel in "ab"] == [30, 30]
        assert len(peers) == 8

    def test_subscriber_sees_only_what_is_on_disk(self, start_courier, tmp_path):
        """With `always` nobody ever sees an event that power loss would take back."""
        courier = start_courier(durable(tmp_path / "data"))
        peer = Speaker(courier.port, "/ws/a")
        for n in range(20):
            assert courier.publish("a", {"mark": f"seen-{n}-seen"})["clients_reached"] == 1
            assert peer.body() == {"mark": f"seen-{n}-seen"}
            file_that_holds(tmp_path / "data", b"seen-%d-seen" % n)

    def test_many_in_flight_keep_their_order(self, start_courier, tmp_path):
        courier = start_courier(durable(tmp_path / "data"))
        peer = Speaker(courier.port, "/ws/a")
        with RawConnection(courier.port) as connection:
            for start in range(0, 300, 50):
                connection.send(b"".join(encode_publish("a", b'{"n":%d}' % n) for n in range(start, start + 50)))
                answers = [connection.reply().json() for _ in range(50)]
                assert {answer["stored"] for answer in answers} == {"disk"}
        assert [event["n"] for event in peer.bodies(300)] == list(range(300))
        assert numbers_of(page(courier, "a", limit=1000)) == list(range(300))


class TestRestart:
    @pytest.mark.parametrize("fsync", ["always", "interval", "never"])
    def test_clean_stop_keeps_everything_and_the_numbering(self, start_courier, tmp_path, fsync):
        settings = durable(tmp_path / "data", fsync)
        first = start_courier(settings)
        names = [f"kept.{n}" for n in range(10)]
        ids = {name: publish_many(first, name, 20) for name in names}
        timestamps = [event["timestamp"] for event in page(first, "kept.0")["events"]]
        first.stop()
        second = start_courier(settings)
        for name in names:
            assert name in second.get("/channels").json()["channels"]
            found = page(second, name, limit=1000)
            assert [event["id"] for event in found["events"]] == ids[name] and numbers_of(found) == list(range(20))
        assert [event["timestamp"] for event in page(second, "kept.0")["events"]] == timestamps
        assert second.publish("kept.0", {"n": 20})["id"] == shifted(ids["kept.0"][-1], 1)
        join = Join(second, "kept.1", after=ids["kept.1"][4])
        assert join.answer["recovered"] is True
        assert [event["id"] for event in join.until_marker()] == ids["kept.1"][5:]

    def test_kill_loses_nothing_that_was_answered_as_on_disk(self, start_courier, tmp_path):
        settings = durable(tmp_path / "data")
        first = start_courier(settings)
        ids = publish_many(first, "a", 50)
        kill(first)
        second = start_courier(settings)
        assert [event["id"] for event in page(second, "a", limit=1000)["events"]] == ids
        join = Join(second, "a", after=ids[9])
        assert join.answer["recovered"] is True, "nobody can have seen more than the disk holds"
        assert [event["id"] for event in join.until_marker()] == ids[10:]
        assert second.publish("a", {"n": 50})["id"] == shifted(ids[-1], 2), "the marker lies between"

    @pytest.mark.parametrize("fsync", ["interval", "never"])
    def test_kill_without_always_leaves_a_beginning_and_says_so(self, start_courier, tmp_path, fsync):
        settings = durable(tmp_path / "data", fsync)
        first = start_courier(settings)
        ids = publish_many(first, "a", 200)
        kill(first)
        second = start_courier(settings)
        kept = [event["id"] for event in page(second, "a", limit=1000)["events"]]
        assert kept == ids[: len(kept)], "a beginning, in order, once, under the old positions"
        new = second.publish("a", {"n": "new"})["id"]
        assert new not in ids and new.split("-")[0] != ids[0].split("-")[0]
        assert offset(new) > offset(kept[-1]) if kept else True
        lost = Join(second, "a", after=ids[-1])
        assert lost.answer["recovered"] is False or len(kept) == len(ids)
        if len(kept) > 10:
            resolved = Join(second, "a", after=ids[4])
            assert [event["id"] for event in resolved.events(5)] == ids[5:10], "old positions still resolve"

    def test_number_of_shards_may_change(self, start_courier, tmp_path):
        ids = {}
        for turn, shards in enumerate((2, 1, 3, 2)):
            courier = start_courier(durable(tmp_path / "data", shards=shards))
            for n in range(12):
                known = ids.setdefault(f"ch.{n}", [])
                assert [event["id"] for event in page(courier, f"ch.{n}", limit=1000)["events"]] == known
                known += publish_many(courier, f"ch.{n}", 5, start=5 * turn)
            courier.stop() if turn % 2 else kill(courier)

    def test_only_durable_channels_come_back(self, start_courier, tmp_path):
        config = "channel_options: [{match: 'kept.**', history: {durable: true}}]\n"
        settings = {"storage.dir": tmp_path / "data", "storage.fsync": "always"}
        first = start_courier(settings, config=config)
        publish_many(first, "kept.a", 3)
        publish_many(first, "other", 3)
        first.stop()
        second = start_courier(settings, config=config)
        assert numbers_of(page(second, "kept.a")) == [0, 1, 2]
        assert page(second, "other")["events"] == []

    def test_event_is_verbatim_after_a_restart_and_so_are_its_facts(self, start_courier, tmp_path):
        settings = durable(tmp_path / "data")
        texts = [b'{ "n" : 1.50, "u":"\\u00e9", "n": [ ] }', '{"é😀":"\\u0000\\n"}'.encode(), b'{"big":"%s"}' % (b"x" * 300_000)]
        first = start_courier(settings)
        start = offset(first.publish("a", {"n": 0})["id"])
        for text in texts:
            first.post("/publish/a", text)
        first.post("/publish", {"channel": "a", "data": {"type": "t.a", "source": "s"}, "priority": 9})
        first.stop()
        second = start_courier(settings)
        body = second.get("/history/a").body
        for text in texts:
            assert text in body
        epoch = page(second, "a")["epoch"]
        peer = Speaker(second.port, f"/ws/a?after={epoch}-{start}&types=t.a&sources=s&priorities=9")
        assert peer.body() == {"type": "t.a", "source": "s"}


async def test_restart_of_a_durable_server_is_only_a_pause(start_courier, streams, lay_cable, tmp_path):
    settings = durable(tmp_path / "data", shutdown__grace=0)
    first = start_courier(settings)
    cable = await lay_cable(first.port)
    stream = await (await streams(Streams.node)).follow(f"http://127.0.0.1:{cable.port}/sse/a")
    publish_many(first, "a", 5)
    await stream.wait_for(lambda: len(stream.messages) >= 5)
    cable.cut()
    publish_many(first, "a", 5, start=5)
    first.stop()
    second = start_courier(settings)
    cable.mend(second.port)
    publish_many(second, "a", 5, start=10)
    await stream.wait_for(lambda: len(stream.messages) >= 15)
    assert [json.loads(json.loads(text)["data"])["n"] for text in stream.messages] == list(range(15))


class TestRetention:
    def test_disk_holds_what_memory_gave_up(self, start_courier, tmp_path):
        courier = start_courier(durable(tmp_path / "data", "interval", history__max_bytes=256 * 1024))
        ids = publish_filled(courier, "a", range(500), 4000)
        assert [event["id"] for event in pages(courier, "a", 100)] == ids, "2 MB where memory holds a quarter"
        assert [event["id"] for event in page(courier, "a", order="newest", limit=400)["events"]] == ids[:-401:-1]
        peer = Speaker(courier.port, f"/ws/a?after={ids[0]}")
        for n in range(500, 600):
            courier.publish("a", {"n": n})
        assert [event["n"] for event in peer.bodies(599)] == list(range(1, 600)), "from disk, from memory, live"

    def test_age_holds_on_disk_too(self, start_courier, tmp_path):
        settings = durable(tmp_path / "data", history__ttl=1)
        first = start_courier(settings)
        ids = publish_many(first, "a", 5)
        wait_until(lambda: page(first, "a")["events"] == [], what="all have grown old")
        first.stop()
        second = start_courier(settings)
        assert page(second, "a")["events"] == []
        new = second.publish("a", {"n": 5})["id"]
        assert new == shifted(ids[-1], 1) or new.split("-")[0] != ids[-1].split("-")[0], "it goes on, or is told from the old"

    def test_size_of_the_log_is_bounded_and_the_oldest_go(self, start_courier, tmp_path):
        settings = durable(tmp_path / "data", "interval", storage__segment_bytes=MEGABYTE, storage__max_bytes=4 * MEGABYTE)
        courier = start_courier(settings | {"history.max_bytes": MEGABYTE})
        with RawConnection(courier.port) as connection:
            for n in range(1200):
                connection.send(encode_publish(f"ch.{n % 3}", b'{"n":%d,"fill":"%s"}' % (n, b"x" * 10_000)))
                connection.reply()
        # One segment per shard is being written while the oldest one goes.
        wait_until(lambda: used_bytes(tmp_path / "data") <= 7 * MEGABYTE, what="12 MB have been cut to the bound")
        for name in ("ch.0", "ch.1", "ch.2"):
            offsets = offsets_of(page(courier, name, order="newest", limit=1000))
            assert offsets == list(range(offsets[0], offsets[-1] - 1, -1)) and len(offsets) > 50
        courier.stop()
        again = start_courier(settings)
        assert max(numbers_of(page(again, "ch.2", order="newest", limit=1))) == 1199

    def test_reader_of_the_past_does_not_delay_the_present(self, start_courier, tmp_path):
        courier = start_courier(durable(tmp_path / "data", "interval", history__max_bytes=256 * 1024))
        start = courier.publish("a", {"n": -1})["id"]
        publish_filled(courier, "a", range(1500), 4000)
        late = [Speaker(courier.port, f"/ws/a?after={start}") for _ in range(10)]
        live = Speaker(courier.port, "/ws/b")
        for n in range(50):
            courier.publish("b", {"n": n})
            assert live.body() == {"n": n}
        for peer in late:
            assert [event["n"] for event in peer.bodies(1500)] == list(range(1500))


class Ledger:
    """Publishers on several channels and a subscriber that resumes, over any number of deaths of the server."""

    def __init__(self, names: list[str]):
        self.names = names
        self.next = dict.fromkeys(names, 0)
        self.answered: dict[str, list[tuple[str, int]]] = {name: [] for name in names}
        self.heard: dict[str, list[tuple[str, int]]] = {name: [] for name in names}
        self.resumed: set[str] = set()

    async def publish(self, courier, name: str):
        """Publishes until the server dies. An event without an answer may be there or not; its number is not used again."""
        try:
            publisher = await Publisher.open(courier.port)
            while True:
                n = self.next[name]
                self.next[name] += 1
                answer = await publisher.publish(name, {"n": n})
                assert answer["stored"] == "disk"
                self.answered[name].append((answer["id"], n))
        except (OSError, TimeoutError):
            return

    async def subscribe(self, courier, clients):
        """Comes back behind the last event heard of each channel; fails when the server cannot join both ends."""
        inbox = await clients.python(courier.socket_url("/ws"), subprotocols=["courier.v1"])
        self.resumed = {name for name in self.names if self.heard[name]}
        for name in self.names:
            fields = {"after": self.heard[name][-1][0]} if self.heard[name] else {"since": "1970-01-01T00:00:00Z"}
            await inbox.send(json.dumps({"type": "subscribe", "ref": name, "channel": name} | fields))
        self.inbox = inbox

    def take(self):
        """Books what came; a `recovered` that is not true would be an event that was answered and is gone."""
        for message in map(json.loads, self.inbox.messages):
            assert message["type"] != "gap", message
            if message["type"] == "subscribed" and message["channel"] in self.resumed:
                assert message["recovered"] is True, message
            if message["type"] == "event":
                self.heard[message["channel"]].append((message["id"], message["event"]["n"]))


@pytest.mark.serial
async def test_kill_in_a_loop_under_load_loses_and_doubles_nothing(start_courier, tmp_path, clients, request):
    """`--restarts 50` is the long form."""
    dice, ledger = random.Random(5), Ledger([f"ch.{n}" for n in range(4)])
    settings = durable(tmp_path / "data", storage__segment_bytes=MEGABYTE)
    for _ in range(request.config.getoption("--restarts")):
        courier = start_courier(settings)
        await ledger.subscribe(courier, clients)
        wanted = sum(map(len, ledger.answered.values())) + dice.randrange(10, 300)
        tasks = [asyncio.create_task(ledger.publish(courier, name)) for name in ledger.names for _ in range(2)]
        while sum(map(len, ledger.answered.values())) < wanted:
            await asyncio.sleep(0)
        kill(courier)
        await asyncio.gather(*tasks)
        await ledger.inbox.closed()
        ledger.take()
        courier.stop()
    courier = start_courier(settings)
    await ledger.subscribe(courier, clients)
    for name in ledger.names:
        stored = [(event["id"], event["event"]["n"]) for event in pages(courier, name, 1000)]
        assert len({position for position, _ in stored}) == len({n for _, n in stored}) == len(stored), "none twice"
        assert set(ledger.answered[name]) <= set(stored), "nothing that was answered is missing"
        offsets = [offset(position) for position, _ in stored]
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
        if ledger.heard[name][-1:] == stored[-1:]:
            continue
        # `subscribed` names the newest position too, and comes before its event.
        marks = '"type":"event"', f'"{name}"', f'"{stored[-1][0]}"'
        await ledger.inbox.until_message(lambda text, marks=marks: all(mark in text for mark in marks))
    ledger.take()
    for name in ledger.names:
        assert ledger.heard[name] == [(event["id"], event["event"]["n"]) for event in pages(courier, name, 1000)]
