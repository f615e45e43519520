"""Dialect `courier` as Courier's README shows it (sources 1.2, 1.10; contract 4): its own clients, its quirks, bad input."""

import asyncio
import json

import pytest

from support.frames import BINARY, TEXT, encode
from support.originals import CourierClient, JavaScriptOriginals
from support.speakers import Speaker

README_EVENT = {
    "type": "subscription.created",
    "data": {"user_id": "user_123", "plan": "pro"},
    "timestamp": "2026-01-15T10:30:00.000Z",
}
SUBSCRIPTIONS_MAX = 128
FLOOD = 10_000


@pytest.fixture
async def originals():
    driver = await JavaScriptOriginals.launch()
    yield driver
    await driver.stop()


class TestReadmeClients:
    async def test_python_client_connects_and_listens(self, hub, channel):
        client = CourierClient(hub.socket_url(f"/ws/{channel}"))
        await client.connect()
        for number in range(3):
            assert hub.publish(channel, README_EVENT | {"n": number})["clients_reached"] == 1
        heard = []
        async with asyncio.timeout(10):
            async for event in client.listen():
                heard.append(event)
                if len(heard) == 3:
                    break
        assert heard == [README_EVENT | {"n": number} for number in range(3)]
        await client.close()

    async def test_javascript_subscriber_gets_the_event_as_published(self, hub, channel, originals):
        example = await originals.run("courierReadme", hub.socket_url(f"/ws/{channel}"))
        body = {"channel": channel, "data": README_EVENT}
        answer = hub.post("/publish", body).json()
        assert (answer["status"], answer["channel"], answer["clients_reached"]) == ("published", channel, 1)
        assert json.loads((await example.until(1))[0]) == README_EVENT

    async def test_javascript_subscriber_lives_through_the_heartbeat(self, start_courier, originals):
        courier = start_courier({"heartbeat_interval": 1})
        example = await originals.run("courierReadme", courier.socket_url("/ws/a"))
        beat = Speaker(courier.port, "/ws/a")
        assert [beat.hear() for _ in range(2)] == [{"type": "ping"}] * 2
        courier.publish("a", {"type": "progress", "n": 1})
        assert json.loads((await example.until(1))[0]) == {"type": "progress", "n": 1}

    async def test_two_examples_on_one_channel_are_both_reached(self, hub, channel, originals):
        url = hub.socket_url(f"/ws/{channel}")
        examples = [await originals.run("courierReadme", url) for _ in range(2)]
        assert hub.publish(channel, {"type": "test.message"})["clients_reached"] == 2
        for example in examples:
            assert json.loads((await example.until(1))[0]) == {"type": "test.message"}

    @pytest.mark.parametrize("name", ["global", "alerts", "user.123", "strategy.abc", "forge.job.7", "user.user_123"])
    def test_channels_of_the_readme_work(self, hub, name):
        peer = Speaker(hub.port, f"/ws/{name}")
        peer.gets_only(hub, name)


class TestMessages:
    """Every message of sources 1.2, one after the other on one socket."""

    def test_a_whole_conversation(self, hub, channel):
        peer, more = Speaker(hub.port, f"/ws/{channel}"), f"{channel}.more"
        assert peer.ask("ping") == "pong"
        assert peer.ask({"type": "ping"}) == {"type": "pong"}
        peer.say({"type": "pong"})
        assert peer.ask({"type": "subscribe", "channel": more}) == {"type": "subscribed", "channel": more}
        hub.publish(more, {"n": 1})
        assert peer.event() == {"n": 1}
        assert peer.ask({"type": "unsubscribe", "channel": more}) == {"type": "unsubscribed", "channel": more}
        hub.publish(more, {"n": 2})
        message = '{"type": "chat", "text": "hi"}'
        assert peer.ask(message) == {"type": "ack", "message_type": "chat", "size_bytes": len(message)}
        assert peer.ask({}) == {"type": "ack", "message_type": None, "size_bytes": 2}
        error = peer.ask("[]")
        assert (error["type"], error["code"]) == ("error", "VALIDATION_ERROR")
        peer.gets_only(hub, channel)

    @pytest.mark.parametrize(
        "message", ["x", "[]", "3", "null", '"ping"', "{", '{"type":"ping"', "\x00", '{"a":' + "[" * 500 + "}", "{'a':1}"]
    )
    def test_bad_message_is_told_and_the_socket_stays(self, hub, channel, message):
        peer = Speaker(hub.port, f"/ws/{channel}")
        error = peer.ask(message)
        assert (error["type"], error["code"]) == ("error", "VALIDATION_ERROR")
        assert error["message"] and error["errors"]
        peer.gets_only(hub, channel)

    @pytest.mark.parametrize("kind", [5, None, [], {}, True])
    def test_type_of_another_kind_is_acknowledged_or_told_as_an_error(self, hub, channel, kind):
        peer = Speaker(hub.port, f"/ws/{channel}")
        assert peer.ask({"type": kind})["type"] in ("ack", "error")
        peer.gets_only(hub, channel)

    def test_unsubscribe_of_what_is_not_there_keeps_all_else(self, hub, channel):
        peer = Speaker(hub.port, f"/ws/{channel}")
        for name in (f"{channel}.never", "a.*", "**", ""):
            assert peer.ask({"type": "unsubscribe", "channel": name})["type"] in ("unsubscribed", "error")
        peer.gets_only(hub, channel)

    def test_client_cannot_fake_a_server_message(self, hub, channel):
        peer, other = Speaker(hub.port, f"/ws/{channel}"), Speaker(hub.port, f"/ws/{channel}")
        for kind in ("event", "shutdown", "subscribed", "publish", "error", "welcome"):
            assert peer.ask({"type": kind, "channel": channel, "data": {"n": 1}})["type"] == "ack"
        other.gets_only(hub, channel)


class TestFloods:
    def test_ten_thousand_subscriptions_are_bounded_and_harm_nobody(self, hub, channel):
        bystander, peer = Speaker(hub.port, f"/ws/{channel}"), Speaker(hub.port, "/ws")
        orders = [json.dumps({"type": "subscribe", "channel": f"{channel}.{n}"}).encode() for n in range(FLOOD)]
        told = []
        for start in range(0, FLOOD, 100):
            peer.send(b"".join(encode(TEXT, order) for order in orders[start : start + 100]))
            told += [peer.hear()["type"] for _ in range(100)]
        assert told == ["subscribed"] * SUBSCRIPTIONS_MAX + ["error"] * (FLOOD - SUBSCRIPTIONS_MAX)
        assert hub.publish(f"{channel}.127", {"n": 1})["clients_reached"] == 1
        assert peer.event() == {"n": 1}
        assert hub.publish(f"{channel}.128", {"n": 1})["clients_reached"] == 0
        bystander.gets_only(hub, channel)
        peer.leave()

    def test_binary_frame_closes_1003_and_nobody_else(self, hub, channel):
        bystander, peer = Speaker(hub.port, f"/ws/{channel}"), Speaker(hub.port, f"/ws/{channel}")
        assert peer.frame(BINARY, b'{"type":"ping"}').fails_with(1003).reason == "Text messages only"
        bystander.gets_only(hub, channel)

    def test_oversize_message_closes_1009_and_nobody_else(self, hub, channel):
        bystander, peer = Speaker(hub.port, f"/ws/{channel}"), Speaker(hub.port, f"/ws/{channel}")
        peer.text(b'"' + b"x" * (1 << 20) + b'"').fails_with(1009)
        bystander.gets_only(hub, channel)
