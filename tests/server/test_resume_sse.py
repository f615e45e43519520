"""Resume of server-sent events (contract 7, 11): Last-Event-ID by header and query, several channels, real EventSources."""

import json

import pytest

from support.cable import Cable
from support.flood import offset
from support.history import elsewhere, page, publish_filled, publish_many, shifted
from support.sse import EventStream
from support.streams import Streams

LONG_AGO = "1970-01-01T00:00:00Z"


def resumed(courier, target: str, last_id: str, how: str) -> EventStream:
    """A stream that begins behind `last_id`, said in one of the ways there are."""
    if how == "header":
        return EventStream(courier.port, target, {"Last-Event-ID": last_id})
    joint = "&" if "?" in target else "?"
    return EventStream(courier.port, f"{target}{joint}{how}={last_id}")


class TestOneChannel:
    @pytest.mark.parametrize("how", ["header", "last_event_id", "after"])
    def test_begins_behind_the_last_id(self, hub, channel, how):
        ids = publish_many(hub, channel, 10)
        stream = resumed(hub, f"/sse/{channel}", ids[3], how)
        assert stream.head.status == 200
        sent = stream.events(6)
        assert [(each.id, each.json()["n"]) for each in sent] == [(ids[n], n) for n in range(4, 10)]
        stream.gets_only(hub, channel)

    def test_header_of_a_reconnect_beats_the_query_of_the_first_connect(self, hub, channel):
        """An EventSource repeats its URL for ever: what it has heard since then stands in the header."""
        ids = publish_many(hub, channel, 10)
        for query in ("after", "last_event_id", "since"):
            start = LONG_AGO if query == "since" else ids[0]
            stream = EventStream(hub.port, f"/sse/{channel}?{query}={start}", {"Last-Event-ID": ids[6]})
            assert [sent.id for sent in stream.events(3)] == ids[7:]

    def test_since_a_time(self, hub, channel):
        publish_many(hub, channel, 20)
        events = page(hub, channel)["events"]
        since = events[10]["timestamp"]
        wanted = [event["id"] for event in events if event["timestamp"] >= since]
        stream = EventStream(hub.port, f"/sse/{channel}?since={since}")
        assert [sent.id for sent in stream.events(len(wanted))] == wanted
        stream.gets_only(hub, channel)

    def test_empty_header_is_a_fresh_start(self, hub, channel):
        """Browsers send it only when there is one; the standard lets it be empty."""
        publish_many(hub, channel, 3)
        stream = EventStream(hub.port, f"/sse/{channel}", {"Last-Event-ID": ""})
        assert stream.head.status == 200
        stream.gets_only(hub, channel)

    def test_filters_hold_for_the_replay(self, hub, channel):
        for n in range(10):
            hub.publish(channel, {"type": "ab"[n % 2], "n": n})
        stream = EventStream(hub.port, f"/sse/{channel}?since={LONG_AGO}&types=a,marker")
        stream.gets_only(hub, channel, *({"type": "a", "n": n} for n in range(0, 10, 2)))

    def test_history_too_short_gives_what_is_held(self, start_courier):
        courier = start_courier({"history.size": 5})
        ids = publish_many(courier, "a", 20)
        stream = resumed(courier, "/sse/a", ids[2], "header")
        assert [sent.id for sent in stream.events(5)] == ids[15:]

    def test_other_numbering_gets_what_is_held(self, hub, channel):
        ids = publish_many(hub, channel, 4)
        stream = resumed(hub, f"/sse/{channel}", elsewhere(ids[1]), "header")
        assert stream.head.status == 200, "an EventSource that gets an error gives up for good"
        assert [sent.id for sent in stream.events(4)] == ids

    def test_position_of_the_future_never_holds_back_what_is_live(self, hub, channel):
        ids = publish_many(hub, channel, 4)
        stream = resumed(hub, f"/sse/{channel}", shifted(ids[-1], 1000), "header")
        assert stream.head.status == 200
        position = hub.publish(channel, {"n": "live"})["id"]
        sent = [stream.event()]
        while sent[-1].id != position:
            sent.append(stream.event())
        offsets = [offset(each.id) for each in sent]
        assert offsets == list(range(offsets[0], offsets[-1] + 1))

    @pytest.mark.parametrize("query", ["after=x", "after=", "since=yesterday", "since=", "after=12345678-", "last_event_id=x"])
    def test_malformed_query_is_400(self, hub, channel, query):
        answer = hub.get(f"/sse/{channel}?{query}")
        assert answer.status == 400 and query.partition("=")[0] in json.dumps(answer.detail)

    @pytest.mark.parametrize("text", ["x", "12345678-", "-1", "\u00e9", "x" * 2000, "1,2,3", "12345678-5;12345678-6"])
    def test_foreign_header_is_400_or_a_start_without_loss(self, hub, channel, text):
        """The id of another server behind the same address: refuse it, or say all that is held; never skip something."""
        ids = publish_many(hub, channel, 3)
        stream = EventStream(hub.port, f"/sse/{channel}", {"Last-Event-ID": text.encode().decode("latin-1")})
        if stream.head.status != 400:
            assert stream.head.status == 200
            assert [sent.id for sent in stream.events(3)] == ids

    def test_header_that_is_no_text_is_400(self, hub, channel):
        """It counted as none, and what had been missed was never sent."""
        publish_many(hub, channel, 3)
        assert EventStream(hub.port, f"/sse/{channel}", {"Last-Event-ID": "\u00ff"}).head.status == 400

    def test_large_replay_cuts_no_stream_that_reads(self, start_courier):
        courier = start_courier({"history.size": 5000})
        start = courier.publish("a", {"n": -1})["id"]
        publish_filled(courier, "a", range(1500), 4000)
        stream = resumed(courier, "/sse/a", start, "header")
        assert [sent.json()["n"] for sent in stream.events(1500)] == list(range(1500))
        stream.gets_only(courier, "a")


class TestSeveralChannels:
    def publish_mixed(self, hub, names: list[str], count: int, *, start: int = 0):
        for n in range(start, start + count):
            hub.publish(names[n % len(names)], {"n": n, "to": names[n % len(names)]})

    @pytest.mark.parametrize("how", ["header", "last_event_id"])
    def test_any_last_id_is_an_exact_place_in_every_channel(self, hub, channel, how):
        """Cut after each event in turn: what comes after the return is exactly what had not come before, per channel."""
        names = [f"{channel}.{n}" for n in range(3)]
        target = "/sse?" + "&".join(f"channel={name}" for name in names)
        first = EventStream(hub.port, target)
        self.publish_mixed(hub, names, 12)
        heard = first.events(12)
        first.socket.close()
        self.publish_mixed(hub, names, 6, start=12)
        for cut in range(12):
            stream = resumed(hub, target, heard[cut].id, how)
            assert stream.head.status == 200, heard[cut].id
            known = {each.json()["n"] for each in heard[: cut + 1]}
            wanted = [n for n in range(18) if n not in known]
            rest = [sent.json() for sent in stream.events(len(wanted))]
            assert sorted(event["n"] for event in rest) == wanted, cut
            for name in names:
                own = [event["n"] for event in rest if event["to"] == name]
                assert own == sorted(own)
            stream.socket.close()

    def test_returning_twice_without_an_event_between_is_exact_too(self, hub, channel):
        names = [f"{channel}.{n}" for n in range(2)]
        target = "/sse?" + "&".join(f"channel={name}" for name in names)
        stream = EventStream(hub.port, target)
        self.publish_mixed(hub, names, 5)
        last = stream.events(5)[-1].id
        for turn in range(3):
            stream.socket.close()
            stream = resumed(hub, target, last, "header")
            self.publish_mixed(hub, names, 2, start=5 + 2 * turn)
            sent = stream.events(2)
            assert sorted(each.json()["n"] for each in sent) == [5 + 2 * turn, 6 + 2 * turn]
            last = sent[-1].id

    def test_id_stays_within_what_a_header_may_hold(self, hub, channel):
        names = [f"{channel}.{n}" for n in range(128)]
        target = "/sse?" + "&".join(f"channel={name}" for name in names)
        stream = EventStream(hub.port, target)
        assert stream.head.status == 200
        self.publish_mixed(hub, names, 256)
        last = stream.events(256)[-1].id
        assert len(last) < 8192, "server and proxies refuse longer fields"
        stream.socket.close()
        self.publish_mixed(hub, names, 128, start=256)
        again = resumed(hub, target, last, "header")
        assert again.head.status == 200
        assert sorted(sent.json()["n"] for sent in again.events(128)) == list(range(256, 384))

    def test_since_holds_for_each_channel(self, hub, channel):
        names = [f"{channel}.{n}" for n in range(3)]
        self.publish_mixed(hub, names, 9)
        target = "/sse?" + "&".join(f"channel={name}" for name in names) + f"&since={LONG_AGO}"
        rest = [sent.json()["n"] for sent in EventStream(hub.port, target).events(9)]
        assert sorted(rest) == list(range(9))


class TestEventSources:
    """EventSources come back by themselves and bring the last id: here behind a cable that is cut between events."""

    async def test_node_misses_nothing(self, hub, channel, streams, lay_cable):
        cable = await lay_cable(hub.port)
        await self.cut_and_follow(hub, channel, cable, await streams(Streams.node), "")

    async def test_chromium_misses_nothing(self, hub, channel, streams, lay_cable):
        cable = await lay_cable(hub.port)
        page_url = f"http://127.0.0.1:{cable.port}/health"
        await self.cut_and_follow(hub, channel, cable, await streams(Streams.chromium, page_url), "?since=" + LONG_AGO)

    async def cut_and_follow(self, hub, channel: str, cable: Cable, driver: Streams, query: str):
        publish_many(hub, channel, 3)
        start = 0 if query else 3
        several = f"/sse?channel={channel}&channel={channel}.b" + query.replace("?", "&")
        one, both = [
            await driver.follow(f"http://127.0.0.1:{cable.port}{path}") for path in (f"/sse/{channel}{query}", several)
        ]
        publish_many(hub, channel, 10, start=3)
        await self.has(13 - start, one, both)
        cable.cut()
        publish_many(hub, channel, 10, start=13)
        cable.mend()
        await self.has(23 - start, one, both)
        publish_many(hub, channel, 10, start=23)
        await self.has(33 - start, one, both)
        for stream in (one, both):
            numbers = [json.loads(json.loads(text)["data"])["n"] for text in stream.messages]
            assert numbers == list(range(start, 33))

    @staticmethod
    async def has(count: int, *streams):
        for stream in streams:
            await stream.wait_for(lambda stream=stream: len(stream.messages) >= count)
