"""Dialect `events` as ArcaneEventBus promises it (sources 4, contract 6): the welcome, raw events, silence to the client."""

import asyncio
import json

import pytest

from support.frames import BINARY, PING, PONG, TEXT, ScriptedPeer, encode
from support.originals import ArcaneClient
from support.process import wait_until
from support.speakers import Arcane, Speaker


def listed(hub) -> dict:
    return hub.get("/channels").json()["channels"]


class TestWelcome:
    def test_is_the_first_message_and_has_four_fields(self, hub, channel):
        peer = Arcane(hub.port, channel)
        assert peer.welcome == {
            "type": "connection",
            "message": f"✨ Connected to channel '{channel}' ✨",
            "channel": channel,
            "subscribers": 1,
        }

    def test_counts_all_subscribers_of_the_channel_on_all_cores(self, hub, channel):
        peers = [Arcane(hub.port, channel) for _ in range(12)]
        assert [peer.welcome["subscribers"] for peer in peers] == list(range(1, 13))

    def test_counts_those_of_other_dialects_too(self, hub, channel):
        others = [Speaker(hub.port, f"/ws/{channel}") for _ in range(3)]
        assert Arcane(hub.port, channel).welcome["subscribers"] == len(others) + 1

    def test_count_falls_when_a_subscriber_leaves(self, hub, channel):
        stays, leaves = Arcane(hub.port, channel), Arcane(hub.port, channel)
        leaves.leave()
        wait_until(lambda: listed(hub).get(channel) == 1, what="the one that left is no longer counted")
        assert Arcane(hub.port, channel).welcome["subscribers"] == 2
        stays.leave()

    def test_comes_before_any_event(self, hub, channel):
        """Publishing goes on while sockets open: each hears the welcome first (contract 6), then events in order."""
        publisher = Arcane(hub.port, channel)
        for number in range(60):
            hub.publish(channel, {"n": number})
            assert Arcane(hub.port, channel).welcome["type"] == "connection"
        assert publisher.bodies(60) == [{"n": number} for number in range(60)]

    def test_underscores_and_upper_case_are_a_channel(self, hub):
        assert Arcane(hub.port, "test_Channel_1").welcome["channel"] == "test_Channel_1"

    def test_bad_name_is_closed_1008(self, hub):
        frame = ScriptedPeer(hub.port, "/ws/events/a%20b").fails_with(1008)
        assert frame.reason == "Invalid channel name"


class TestEvents:
    def test_are_raw_and_in_order_on_all_subscribers(self, hub, channel):
        peers = [Arcane(hub.port, channel) for _ in range(4)]
        texts = [b'{ "n" : %d, "spell":"\\u2728" }' % n for n in range(50)]
        for text in texts:
            assert hub.post(f"/publish/{channel}", text).json()["clients_reached"] == 4
        for peer in peers:
            assert [peer.message().payload for _ in texts] == texts

    def test_channels_are_isolated(self, hub, channel):
        one, other = Arcane(hub.port, f"{channel}.1"), Arcane(hub.port, f"{channel}.2")
        hub.publish(f"{channel}.1", {"to": 1})
        one.gets_only(hub, f"{channel}.1", {"to": 1})
        other.gets_only(hub, f"{channel}.2")

    async def test_original_client_on_parallel_channels(self, hub, channel):
        base = hub.socket_url("")

        async def follow(number: int):
            name = f"{channel}.{number % 3}"
            async with ArcaneClient(base, name) as client:
                assert client.welcome["channel"] == name
                ready.append(number)
                if len(ready) == 9:
                    all_ready.set()
                await all_ready.wait()
                return [await client.event() for _ in range(5)]

        ready, all_ready = [], asyncio.Event()
        following = [asyncio.create_task(follow(number)) for number in range(9)]
        async with asyncio.timeout(20):
            await all_ready.wait()
        for round_number in range(5):
            for of in range(3):
                assert hub.publish(f"{channel}.{of}", {"of": of, "n": round_number})["clients_reached"] == 3
        heard = await asyncio.gather(*following)
        assert heard == [[{"of": number % 3, "n": n} for n in range(5)] for number in range(9)]

    def test_event_that_looks_like_a_welcome_is_delivered_as_it_is(self, hub, channel):
        peer = Arcane(hub.port, channel)
        peer.gets_only(hub, channel)
        hub.publish(channel, {"type": "connection", "subscribers": 99})
        assert peer.body() == {"type": "connection", "subscribers": 99}


class TestClientText:
    @pytest.mark.parametrize(
        "text",
        ["ping", "hello", "", "{", '{"type":"ping"}', '{"type":"subscribe","channel":"other"}', "[" * 2000,
         '{"type":"publish"}', json.dumps({"action": "subscribe", "event_types": ["x"]}), "\x00"],
    )  # fmt: skip
    def test_is_ignored_without_any_answer(self, hub, channel, text):
        peer = Arcane(hub.port, channel)
        peer.say(text)
        peer.frame(PING, b"fence")  # answered after the text was read
        frame = peer.next()
        assert (frame.opcode, frame.payload) == (PONG, b"fence")
        peer.gets_only(hub, channel)

    def test_flood_of_text_is_ignored(self, hub, channel):
        peer, bystander = Arcane(hub.port, channel), Arcane(hub.port, channel)
        for _ in range(20):
            peer.send(b"".join(encode(TEXT, b'{"type":"subscribe","channel":"%d"}' % n) for n in range(500)))
        peer.gets_only(hub, channel)
        bystander.gets_only(hub, channel, {"type": "marker", "marker": True})

    def test_binary_frame_closes_1003_and_nobody_else(self, hub, channel):
        peer, bystander = Arcane(hub.port, channel), Arcane(hub.port, channel)
        assert peer.frame(BINARY, b"\x00").fails_with(1003).reason == "Text messages only"
        bystander.gets_only(hub, channel)

    def test_oversize_message_closes_1009(self, hub, channel):
        peer, bystander = Arcane(hub.port, channel), Arcane(hub.port, channel)
        peer.text(b"x" * ((1 << 20) + 1)).fails_with(1009)
        bystander.gets_only(hub, channel)


class TestCleanUp:
    def test_channel_leaves_with_its_last_socket(self, hub, channel):
        peers = [Arcane(hub.port, channel) for _ in range(3)]
        assert listed(hub)[channel] == 3
        peers[0].leave()
        peers[1].reset()
        wait_until(lambda: listed(hub).get(channel) == 1, what="two of three have left")
        peers[2].leave()
        wait_until(lambda: channel not in listed(hub), what="the channel has left with its last socket")

    def test_channel_comes_again(self, hub, channel):
        for _ in range(3):
            peer = Arcane(hub.port, channel)
            assert peer.welcome["subscribers"] == 1
            peer.gets_only(hub, channel)
            peer.leave()
            wait_until(lambda: channel not in listed(hub), what="the channel has left")

    def test_limit_of_the_channel_refuses_the_next(self, start_courier):
        config = "channel_options: [{match: 'room.*', max_clients: 2}]\n"
        courier = start_courier(config=config)
        peers = [Arcane(courier.port, "room.1") for _ in range(2)]
        ScriptedPeer(courier.port, "/ws/events/room.1").fails_with(1008)
        for number, peer in enumerate(peers):
            assert peer.welcome["subscribers"] == number + 1
            peer.gets_only(courier, "room.1", *[{"type": "marker", "marker": True}] * number)

    def test_get_channels_tells_counts(self, hub, channel):
        peers = [Arcane(hub.port, f"{channel}.{n}") for n in (1, 1, 2)]
        answer = hub.get("/channels").json()
        assert answer["status"] == "success"
        assert (answer["channels"][f"{channel}.1"], answer["channels"][f"{channel}.2"]) == (2, 1)
        assert answer["total_channels"] >= 2 and len(peers) == 3
