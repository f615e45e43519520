"""Server-sent events (contract 7): the format, real EventSources, curl, one order with sockets, limits, slow readers."""

import json
import re
import signal
import subprocess
import time

import pytest

from support.flood import SMALL_BUFFER_BYTES, flood
from support.process import wait_until
from support.speakers import V1, Router, Speaker
from support.sse import EventStream
from support.streams import Streams
from support.web import RawConnection

COMMENT_SECONDS = 15
POSITION = re.compile(r"^[0-9a-f]{8}-[0-9]+$")


class TestHead:
    def test_says_event_stream_and_keeps_proxies_from_buffering(self, hub, channel):
        head = EventStream(hub.port, f"/sse/{channel}").head
        assert (head.status, head.header("content-type").split(";")[0]) == (200, "text/event-stream")
        assert head.tokens("cache-control") & {"no-cache", "no-store"}
        assert head.header("x-accel-buffering") == "no"
        assert head.header("content-length") is None

    def test_comes_at_once_and_retry_is_the_start(self, hub, channel):
        stream = EventStream(hub.port, f"/sse/{channel}")
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 1
        stream.event()
        assert stream.retry and 100 <= stream.retry <= 60_000, "milliseconds"

    def test_http_1_0_gets_it_without_chunks(self, hub, channel):
        stream = EventStream(hub.port, f"/sse/{channel}", version="1.0")
        assert stream.head.status == 200 and not stream.chunked
        stream.gets_only(hub, channel)

    @pytest.mark.parametrize("target", ["/sse/a%20b", "/sse/" + "x" * 101, "/sse?channel=a%20b", "/sse?channel=a&channel=", "/sse"])
    def test_bad_or_no_channel_is_400(self, hub, target):
        answer = hub.get(target)
        assert answer.status == 400 and answer.detail["error"]

    def test_other_methods_are_405(self, hub):
        answer = hub.post("/sse/a", {"n": 1})
        assert answer.status == 405 and "GET" in answer.tokens("allow")

    def test_head_request_gets_no_body(self, hub):
        assert hub.request("HEAD", "/sse/a").status in (200, 405)

    def test_follows_other_requests_on_its_connection(self, hub, channel):
        with RawConnection(hub.port) as connection:
            connection.send(b"GET /health/live HTTP/1.1\r\nHost: t\r\n\r\n")
            assert connection.reply().status == 200
            connection.send(f"GET /sse/{channel} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
            assert b"text/event-stream" in connection.socket.recv(4096)
            assert hub.publish(channel, {"n": 1})["clients_reached"] == 1


class TestFormat:
    def test_id_event_and_data(self, hub, channel):
        stream = EventStream(hub.port, f"/sse/{channel}")
        event = {"type": "order.new", "n": 1}
        position = hub.publish(channel, event)["id"]
        sent = stream.event()
        assert (sent.id, sent.kind, sent.json()) == (position, "order.new", event)
        assert POSITION.match(sent.id)

    def test_event_without_a_type_is_a_message(self, hub, channel):
        stream = EventStream(hub.port, f"/sse/{channel}")
        for event in ({"n": 1}, {"type": None}, {"type": ""}, {"type": 5}):
            hub.publish(channel, event)
            assert (stream.event().kind, stream.last_id != "") == ("message", True)

    @pytest.mark.parametrize("text", [
        b'{"n":1}', b'{ "n" :\t1.50 }', b'{"n":\n1,\n\n"m":2\n}', b'{\r\n"n":1\r\n}', b'{"n":\r1}',
        '{"u":"é😀\u2028\u2029\u0085"}'.encode(), rb'{"u":"\n\r\u0000\u000a"}', b'{"a":"data: x"}', b'\n\n{"n":1}\n\n',
        b'{"big":"' + b"x" * 200_000 + b'"}',
    ], ids=range(10))  # fmt: skip
    def test_data_is_the_event_whatever_its_bytes(self, hub, channel, text):
        stream = EventStream(hub.port, f"/sse/{channel}")
        hub.post(f"/publish/{channel}", text)
        sent = stream.event()
        assert sent.json() == json.loads(text)
        if b"\r" not in text and b"\n" not in text:
            assert sent.data.encode() == text
        stream.gets_only(hub, channel)

    @pytest.mark.parametrize("kind", ["a\ndata: injected", "a\rid: 7-7", "a\r\n\r\ndata: {}", "a\0b", " a", "a: b", "é", "x" * 5000])
    def test_type_cannot_inject_lines(self, hub, channel, kind):
        stream = EventStream(hub.port, f"/sse/{channel}")
        position = hub.publish(channel, {"type": kind, "n": 1})["id"]
        sent = stream.event()
        assert (sent.id, sent.json()) == (position, {"type": kind, "n": 1})
        assert "\n" not in sent.kind and "\r" not in sent.kind
        stream.gets_only(hub, channel)

    def test_comment_comes_every_15_seconds(self, hub, channel):
        stream = EventStream(hub.port, f"/sse/{channel}", timeout=COMMENT_SECONDS + 5)
        started, known = time.monotonic(), len(stream.comments)
        stream.comment(known)
        if time.monotonic() - started < 2:  # one may stand at the start
            stream.comment(known + 1)
        assert COMMENT_SECONDS - 2 < time.monotonic() - started < COMMENT_SECONDS + 5


class TestChannels:
    def test_several_channels_in_one_stream(self, hub, channel):
        stream = EventStream(hub.port, f"/sse?channel={channel}.a&channel={channel}.b")
        positions = {}
        for n in range(10):
            name = f"{channel}.{'ab'[n % 2]}"
            answer = hub.publish(name, {"n": n})
            assert answer["clients_reached"] == 1
            positions[n] = answer["id"]
        hub.publish(f"{channel}.c", {"n": "other"})
        sent = stream.events(10)
        # Several channels have as many places, in the order of the query; the event's own is among them.
        own = {each.json()["n"]: each.id.split(",")[each.json()["n"] % 2] for each in sent}
        assert own == positions
        for of in range(2):
            assert [each.json()["n"] for each in sent if each.json()["n"] % 2 == of] == list(range(of, 10, 2))

    def test_same_channel_twice_delivers_once(self, hub, channel):
        stream = EventStream(hub.port, f"/sse?channel={channel}&channel={channel}")
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 1
        stream.gets_only(hub, channel, {"n": 1})

    def test_streams_and_sockets_share_one_order(self, hub, channel):
        streams = [EventStream(hub.port, f"/sse/{channel}") for _ in range(4)]
        raw, v1, router = Speaker(hub.port, f"/ws/{channel}"), V1(hub.port), Router(hub.port)
        v1.subscribe(channel)
        for n in range(50):
            hub.publish(channel, {"n": 2 * n})
            router.publish(channel, {"n": 2 * n + 1})
        events = [v1.event() for _ in range(100)]
        assert raw.bodies(100) == [event["event"] for event in events]
        for stream in streams:
            sent = stream.events(100)
            assert [(each.id, each.json()) for each in sent] == [(event["id"], event["event"]) for event in events]

    def test_percent_encoded_channel_is_decoded_once(self, hub, channel):
        encoded = "".join(f"%{byte:02x}" for byte in channel.encode())
        EventStream(hub.port, f"/sse/{encoded}").gets_only(hub, channel)

    def test_stream_leaves_the_counts_when_its_client_goes(self, hub, channel):
        streams = [EventStream(hub.port, f"/sse/{channel}") for _ in range(6)]
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 6
        for stream in streams[:4]:
            stream.socket.close()
        wait_until(lambda: hub.publish(channel, {"n": 2})["clients_reached"] == 2, what="four have left")

    def test_channel_limit_holds(self, start_courier):
        courier = start_courier({"max_clients_per_channel": 2})
        streams = [EventStream(courier.port, "/sse/a") for _ in range(2)]
        assert courier.get("/sse/a").status in (403, 409, 429, 503)
        streams[0].gets_only(courier, "a")


class TestClients:
    async def test_node_event_source(self, hub, channel, streams):
        node = await streams(Streams.node)
        stream = await node.follow(f"http://127.0.0.1:{hub.port}/sse/{channel}", ["order.new"])
        await self.check(hub, channel, stream)

    async def test_chromium_event_source(self, hub, channel, streams):
        chromium = await streams(Streams.chromium, f"http://127.0.0.1:{hub.port}/health")
        stream = await chromium.follow(f"/sse/{channel}?types=order.new,plain", ["order.new", "plain"])
        hub.publish(channel, {"type": "filtered.out"})
        await self.check(hub, channel, stream)

    async def check(self, hub, channel: str, stream):
        texts = [b'{"type":"order.new",\n"u":"\xc3\xa9",\n"n":%d}' % n for n in range(20)]
        ids = [hub.post(f"/publish/{channel}", text).json()["id"] for text in texts]
        heard = await stream.heard(20)
        assert [event["data"].encode() for event in heard] == texts
        assert [event["id"] for event in heard] == ids
        assert {event["type"] for event in heard} == {"order.new"}
        assert stream.code is None, "no error, no reconnect"

    def test_curl_prints_events_as_they_come(self, hub, channel):
        url = f"http://127.0.0.1:{hub.port}/sse/{channel}"
        with subprocess.Popen(["curl", "-sN", url], stdout=subprocess.PIPE) as curl:
            wait_until(lambda: hub.publish(channel, {"n": 0})["clients_reached"] == 1, what="curl has connected")
            for n in (1, 2):
                hub.publish(channel, {"type": "x", "n": n})
                lines = iter(curl.stdout.readline, b"")
                assert next(line for line in lines if b'"n": %d' % n in line) == b'data: {"type": "x", "n": %d}\n' % n
            curl.terminate()


class TestSlow:
    @pytest.mark.serial
    async def test_slow_stream_is_cut_and_others_keep_receiving(self, start_courier):
        courier = start_courier()
        stuck = EventStream(courier.port, "/sse/a", receive_buffer=SMALL_BUFFER_BYTES)
        reader = EventStream(courier.port, "/sse/a")
        for start in range(0, 800, 20):
            await flood(courier, "a", 20, start=start)
            assert [sent.json()["n"] for sent in reader.events(20)] == list(range(start, start + 20))
        wait_until(lambda: courier.publish("a", {"n": "end"})["clients_reached"] == 1, what="the slow one is cut")
        numbers = [sent.json()["n"] for sent in stuck.end()]
        assert numbers == list(range(len(numbers))) and len(numbers) < 800

    def test_many_streams_over_both_shards(self, hub, channel):
        streams = [EventStream(hub.port, f"/sse/{channel}") for _ in range(100)]
        for n in range(20):
            assert hub.publish(channel, {"n": n})["clients_reached"] == 100
        for stream in streams:
            assert [sent.json()["n"] for sent in stream.events(20)] == list(range(20))


def test_graceful_stop_delivers_what_is_queued_and_ends_the_stream(start_courier):
    courier = start_courier()
    stream = EventStream(courier.port, "/sse/a")
    for n in range(50):
        courier.publish("a", {"n": n})
    courier.signal(signal.SIGTERM)
    rest = [sent.json() for sent in stream.end()]
    assert [event["n"] for event in rest if "n" in event] == list(range(50))
    assert courier.wait_exit() == 0
